/*
 * Parts of an analysis into the whole.
 */
include { image; script_of; stub_of } from '../plan'

process MERGE_PARTS {
    tag "${job.id}"
    label 'process_low'
    container { image(job) }

    input:
    tuple val(job), path(inputs, stageAs: 'in/*')

    output:
    path({ job.outputs.collect { name -> "out/${name}" } }, emit: made, topic: made)

    script:
    script_of(job, task)

    stub:
    stub_of(job)
}
