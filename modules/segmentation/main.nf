/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { SEGMENT as STARDIST } from './segment'
include { SEGMENT as CELLPOSE } from './segment'
include { SEGMENT as CELLPOSE_DIAMETER } from './segment'
include { SEGMENT as THRESHOLD } from './segment'
include { SEGMENT as LOGSTD; SEGMENT as LOGSTD_THRESHOLD } from './segment'
include { SEGMENT as MODEL } from './segment'
include { SEGMENT as IMAGE_TO_LABEL } from './segment'
include { SEGMENT as REFINE } from './segment'
include { SEGMENT as TRACKPY_LOCATE } from './segment'
include { MERGE_PARTS } from './merge_parts'
include { NUMBER } from './number'
include { STITCH } from './stitch'

workflow SEGMENTATION {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.STARDIST) STARDIST(tasks.remove('STARDIST'))
    if (tasks.CELLPOSE) CELLPOSE(tasks.remove('CELLPOSE'))
    if (tasks.CELLPOSE_DIAMETER) CELLPOSE_DIAMETER(tasks.remove('CELLPOSE_DIAMETER'))
    if (tasks.THRESHOLD) THRESHOLD(tasks.remove('THRESHOLD'))
    if (tasks.LOGSTD_THRESHOLD) LOGSTD_THRESHOLD(tasks.remove('LOGSTD_THRESHOLD'))
    if (tasks.LOGSTD) LOGSTD(tasks.remove('LOGSTD'))
    if (tasks.MODEL) MODEL(tasks.remove('MODEL'))
    if (tasks.IMAGE_TO_LABEL) IMAGE_TO_LABEL(tasks.remove('IMAGE_TO_LABEL'))
    if (tasks.REFINE) REFINE(tasks.remove('REFINE'))
    if (tasks.TRACKPY_LOCATE) TRACKPY_LOCATE(tasks.remove('TRACKPY_LOCATE'))
    if (tasks.MERGE_PARTS) MERGE_PARTS(tasks.remove('MERGE_PARTS'))
    if (tasks.NUMBER) NUMBER(tasks.remove('NUMBER'))
    if (tasks.STITCH) STITCH(tasks.remove('STITCH'))
}
