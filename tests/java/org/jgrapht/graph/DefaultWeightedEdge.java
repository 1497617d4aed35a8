package org.jgrapht.graph;

public class DefaultWeightedEdge
{}
