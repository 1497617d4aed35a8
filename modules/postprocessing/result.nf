/*
 * Tables into results of all positions that leave as they are made.
 */
include { image; script_of; stub_of } from '../plan'

process RESULT {
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
