package ij;

public class ImagePlus
{}
