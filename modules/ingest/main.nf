/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { READ as IMAGES } from './read'
include { READ as LABELS } from './read'
include { READ as TABLES } from './read'

workflow INGEST {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.IMAGES) IMAGES(tasks.remove('IMAGES'))
    if (tasks.LABELS) LABELS(tasks.remove('LABELS'))
    if (tasks.TABLES) TABLES(tasks.remove('TABLES'))
}
