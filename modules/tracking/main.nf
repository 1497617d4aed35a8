/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { TRACK as TRACKPY } from './track'
include { TRACK as IOU } from './track'
include { TRACK as LAPTRACK } from './track'
include { TRACK_IN_JAVA as TRACKMATE } from './trackmate'
include { TRACK as ULTRACK } from './track'
include { PHASE as ULTRACK_DATABASE } from './phase'
include { PHASE as ULTRACK_SEGMENT } from './phase'
include { PHASE as ULTRACK_LINK } from './phase'
include { PHASE as ULTRACK_SOLVE } from './phase'
include { PHASE as ULTRACK_SETTLE } from './phase'
include { PHASE as ULTRACK_PAINT } from './phase'
include { RELABEL } from './relabel'

workflow TRACKING {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.TRACKPY) TRACKPY(tasks.remove('TRACKPY'))
    if (tasks.IOU) IOU(tasks.remove('IOU'))
    if (tasks.LAPTRACK) LAPTRACK(tasks.remove('LAPTRACK'))
    if (tasks.TRACKMATE) TRACKMATE(tasks.remove('TRACKMATE'))
    if (tasks.ULTRACK) ULTRACK(tasks.remove('ULTRACK'))
    if (tasks.ULTRACK_DATABASE) ULTRACK_DATABASE(tasks.remove('ULTRACK_DATABASE'))
    if (tasks.ULTRACK_SEGMENT) ULTRACK_SEGMENT(tasks.remove('ULTRACK_SEGMENT'))
    if (tasks.ULTRACK_LINK) ULTRACK_LINK(tasks.remove('ULTRACK_LINK'))
    if (tasks.ULTRACK_SOLVE) ULTRACK_SOLVE(tasks.remove('ULTRACK_SOLVE'))
    if (tasks.ULTRACK_SETTLE) ULTRACK_SETTLE(tasks.remove('ULTRACK_SETTLE'))
    if (tasks.ULTRACK_PAINT) ULTRACK_PAINT(tasks.remove('ULTRACK_PAINT'))
    if (tasks.RELABEL) RELABEL(tasks.remove('RELABEL'))
}
