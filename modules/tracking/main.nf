/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { TRACK as TRACKPY } from './track'
include { TRACK as IOU } from './track'
include { TRACK as LAPTRACK } from './track'
include { TRACK_IN_JAVA as TRACKMATE } from './trackmate'
include { RELABEL } from './relabel'

workflow TRACKING {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.TRACKPY) TRACKPY(tasks.remove('TRACKPY'))
    if (tasks.IOU) IOU(tasks.remove('IOU'))
    if (tasks.LAPTRACK) LAPTRACK(tasks.remove('LAPTRACK'))
    if (tasks.TRACKMATE) TRACKMATE(tasks.remove('TRACKMATE'))
    if (tasks.RELABEL) RELABEL(tasks.remove('RELABEL'))
}
