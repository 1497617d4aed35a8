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
include { note_failure; slots_of } from './modules/plan'
include { check_parameters; make_plan } from './modules/start'
include { finish } from './modules/finish'
include { publish_result } from './modules/publish'
include { share_order } from './modules/stream'
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
    def plan = make_plan()
    def slots = slots_of(plan)
    share_order(plan.steps)

    workflow.onComplete { finish(plan) }

    if (slots[1]) STEP_1(slots[1], plan.given)
    if (slots[2]) STEP_2(slots[2], plan.given)
    if (slots[3]) STEP_3(slots[3], plan.given)
    if (slots[4]) STEP_4(slots[4], plan.given)
    if (slots[5]) STEP_5(slots[5], plan.given)
    if (slots[6]) STEP_6(slots[6], plan.given)
    if (slots[7]) STEP_7(slots[7], plan.given)
    if (slots[8]) STEP_8(slots[8], plan.given)
    if (slots[9]) STEP_9(slots[9], plan.given)
    if (slots[10]) STEP_10(slots[10], plan.given)
    if (slots[11]) STEP_11(slots[11], plan.given)
    if (slots[12]) STEP_12(slots[12], plan.given)
    if (slots[13]) STEP_13(slots[13], plan.given)
    if (slots[14]) STEP_14(slots[14], plan.given)
    if (slots[15]) STEP_15(slots[15], plan.given)
    if (slots[16]) STEP_16(slots[16], plan.given)
    if (slots[17]) STEP_17(slots[17], plan.given)
    if (slots[18]) STEP_18(slots[18], plan.given)
    if (slots[19]) STEP_19(slots[19], plan.given)
    if (slots[20]) STEP_20(slots[20], plan.given)
    if (slots[21]) STEP_21(slots[21], plan.given)
    if (slots[22]) STEP_22(slots[22], plan.given)
    if (slots[23]) STEP_23(slots[23], plan.given)
    if (slots[24]) STEP_24(slots[24], plan.given)
    if (slots[25]) STEP_25(slots[25], plan.given)
    if (slots[26]) STEP_26(slots[26], plan.given)
    if (slots[27]) STEP_27(slots[27], plan.given)
    if (slots[28]) STEP_28(slots[28], plan.given)
    if (slots[29]) STEP_29(slots[29], plan.given)
    if (slots[30]) STEP_30(slots[30], plan.given)
    if (slots[31]) STEP_31(slots[31], plan.given)
    if (slots[32]) STEP_32(slots[32], plan.given)

    // Where each file lies: what --from takes up. In the output folder when all is done.
    channel.topic('made').flatten().mix(channel.fromList(plan.given))
        .filter { path -> !note_failure(path) }
        .map { path ->
            publish_result(path)
            "${path.name}\t${path}"
        }
        .collectFile(name: "files-${workflow.sessionId}.tsv", storeDir: workDir, newLine: true, sort: true)
}
