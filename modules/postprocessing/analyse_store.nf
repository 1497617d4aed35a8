/*
 * Layers and tables of a position into a store that is a result as it stands.
 */
include { image; script_of; stub_of } from '../plan'

process ANALYSE_STORE {
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
