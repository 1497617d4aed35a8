/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { UNITE } from './unite'
include { DELIVER as PYRAMID } from './deliver'
include { DELIVER as EXPORT } from './deliver'
include { DELIVER as REPORT } from './deliver'
include { DELIVER as SWEEP } from './deliver'
include { UNITE as CRATE } from './unite'

workflow DELIVERY {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.UNITE) UNITE(tasks.remove('UNITE'))
    if (tasks.PYRAMID) PYRAMID(tasks.remove('PYRAMID'))
    if (tasks.EXPORT) EXPORT(tasks.remove('EXPORT'))
    if (tasks.REPORT) REPORT(tasks.remove('REPORT'))
    if (tasks.SWEEP) SWEEP(tasks.remove('SWEEP'))
    if (tasks.CRATE) CRATE(tasks.remove('CRATE'))
}
