/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { EVALUATE as SCORE_SEGMENTATION } from './evaluate'
include { EVALUATE as SCORE_TRACKING } from './evaluate'
include { EVALUATE as SCORE_LABELS } from './evaluate'

workflow EVALUATION {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.SCORE_SEGMENTATION) SCORE_SEGMENTATION(tasks.remove('SCORE_SEGMENTATION'))
    if (tasks.SCORE_TRACKING) SCORE_TRACKING(tasks.remove('SCORE_TRACKING'))
    if (tasks.SCORE_LABELS) SCORE_LABELS(tasks.remove('SCORE_LABELS'))
}
