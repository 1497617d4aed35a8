#!/usr/bin/env nextflow
/*
 * Cytoloom: parameters -> plan -> steps -> results.
 *
 * bin/plan_pipeline.py turns the pipeline YAML into a list of jobs: commands with the names
 * of the files that they need and make. Here every job becomes a task. There is one stream
 * of files, the topic 'made': each task adds to it and starts when the last of its own files
 * has come, so nothing waits for a whole step. modules/step says how.
 *
 * Nextflow cannot call a workflow in a loop, hence the aliases. A step's number comes from
 * its tag (modules/plan.nf), not from its place in the list: Nextflow hashes a task with the
 * full name of its process, and a step put before others must not make them run again.
 */
include { check_parameters; make_plan; slots_of; summarise } from './modules/plan'
include {
    STEP as STEP_1; STEP as STEP_2; STEP as STEP_3; STEP as STEP_4;
    STEP as STEP_5; STEP as STEP_6; STEP as STEP_7; STEP as STEP_8;
    STEP as STEP_9; STEP as STEP_10; STEP as STEP_11; STEP as STEP_12;
    STEP as STEP_13; STEP as STEP_14; STEP as STEP_15; STEP as STEP_16;
    STEP as STEP_17; STEP as STEP_18; STEP as STEP_19; STEP as STEP_20;
    STEP as STEP_21; STEP as STEP_22; STEP as STEP_23; STEP as STEP_24;
    STEP as STEP_25; STEP as STEP_26; STEP as STEP_27; STEP as STEP_28;
    STEP as STEP_29; STEP as STEP_30; STEP as STEP_31; STEP as STEP_32
} from './modules/step'

workflow {
    check_parameters()
    def slots = slots_of(make_plan())

    workflow.onComplete { summarise() }

    if (slots[1]) STEP_1(slots[1])
    if (slots[2]) STEP_2(slots[2])
    if (slots[3]) STEP_3(slots[3])
    if (slots[4]) STEP_4(slots[4])
    if (slots[5]) STEP_5(slots[5])
    if (slots[6]) STEP_6(slots[6])
    if (slots[7]) STEP_7(slots[7])
    if (slots[8]) STEP_8(slots[8])
    if (slots[9]) STEP_9(slots[9])
    if (slots[10]) STEP_10(slots[10])
    if (slots[11]) STEP_11(slots[11])
    if (slots[12]) STEP_12(slots[12])
    if (slots[13]) STEP_13(slots[13])
    if (slots[14]) STEP_14(slots[14])
    if (slots[15]) STEP_15(slots[15])
    if (slots[16]) STEP_16(slots[16])
    if (slots[17]) STEP_17(slots[17])
    if (slots[18]) STEP_18(slots[18])
    if (slots[19]) STEP_19(slots[19])
    if (slots[20]) STEP_20(slots[20])
    if (slots[21]) STEP_21(slots[21])
    if (slots[22]) STEP_22(slots[22])
    if (slots[23]) STEP_23(slots[23])
    if (slots[24]) STEP_24(slots[24])
    if (slots[25]) STEP_25(slots[25])
    if (slots[26]) STEP_26(slots[26])
    if (slots[27]) STEP_27(slots[27])
    if (slots[28]) STEP_28(slots[28])
    if (slots[29]) STEP_29(slots[29])
    if (slots[30]) STEP_30(slots[30])
    if (slots[31]) STEP_31(slots[31])
    if (slots[32]) STEP_32(slots[32])
}
