/*
 * A phase of a tracker that works in several: images, labels and databases into databases.
 */
include { image; script_of; stub_of } from '../plan'

process PHASE {
    tag "${job.id}"
    label 'process_medium'
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
