/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { TABULATE as REGIONS } from './tabulate'
include { MERGE_TABLES } from './merge_tables'

workflow TABULATION {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.REGIONS) REGIONS(tasks.remove('REGIONS'))
    if (tasks.MERGE_TABLES) MERGE_TABLES(tasks.remove('MERGE_TABLES'))
}
