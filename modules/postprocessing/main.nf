/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { ANALYSE as CONTACT } from './analyse'
include { ANALYSE as TRIANGULATION } from './analyse'
include { ANALYSE as KINEMATICS } from './analyse'
include { ANALYSE as FILTER } from './analyse'
include { ANALYSE as CROSS_TABLE } from './analyse'
include { ANALYSE as DENSITY } from './analyse'
include { ANALYSE as KILLING } from './analyse'
include { ANALYSE as TRACKPY_MSD } from './analyse'
include { ANALYSE as SPLINE_BACKGROUND } from './analyse'
include { ANALYSE as EXTRACTION } from './analyse'
include { ANALYSE_STORE as CROPPING } from './analyse_store'
include { ANALYSE_STORE as CACHING } from './analyse_store'
include { RESULT as MERGE_SAMPLES } from './result'
include { RESULT as FIT_TRACES } from './result'
include { MERGE_PARTS } from './merge_parts'

workflow POSTPROCESSING {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.CONTACT) CONTACT(tasks.remove('CONTACT'))
    if (tasks.TRIANGULATION) TRIANGULATION(tasks.remove('TRIANGULATION'))
    if (tasks.KINEMATICS) KINEMATICS(tasks.remove('KINEMATICS'))
    if (tasks.FILTER) FILTER(tasks.remove('FILTER'))
    if (tasks.CROSS_TABLE) CROSS_TABLE(tasks.remove('CROSS_TABLE'))
    if (tasks.DENSITY) DENSITY(tasks.remove('DENSITY'))
    if (tasks.KILLING) KILLING(tasks.remove('KILLING'))
    if (tasks.TRACKPY_MSD) TRACKPY_MSD(tasks.remove('TRACKPY_MSD'))
    if (tasks.SPLINE_BACKGROUND) SPLINE_BACKGROUND(tasks.remove('SPLINE_BACKGROUND'))
    if (tasks.EXTRACTION) EXTRACTION(tasks.remove('EXTRACTION'))
    if (tasks.CROPPING) CROPPING(tasks.remove('CROPPING'))
    if (tasks.CACHING) CACHING(tasks.remove('CACHING'))
    if (tasks.MERGE_SAMPLES) MERGE_SAMPLES(tasks.remove('MERGE_SAMPLES'))
    if (tasks.FIT_TRACES) FIT_TRACES(tasks.remove('FIT_TRACES'))
    if (tasks.MERGE_PARTS) MERGE_PARTS(tasks.remove('MERGE_PARTS'))
}
