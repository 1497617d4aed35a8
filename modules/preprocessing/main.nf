/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { CORRECT as MERGE } from './filter'
include { CORRECT as PERCENTILE } from './filter'
include { CORRECT as GAMMA } from './filter'
include { CORRECT as CORRELATION } from './filter'

workflow PREPROCESSING {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.MERGE) MERGE(tasks.remove('MERGE'))
    if (tasks.PERCENTILE) PERCENTILE(tasks.remove('PERCENTILE'))
    if (tasks.GAMMA) GAMMA(tasks.remove('GAMMA'))
    if (tasks.CORRELATION) CORRELATION(tasks.remove('CORRELATION'))
}
