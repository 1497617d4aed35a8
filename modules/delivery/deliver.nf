/*
 * Layers into what a user opens.
 */
include { image; script_of; stub_of; published } from '../plan'

process DELIVER {
    tag "${job.id}"
    label 'process_low'
    container { image(job) }
    publishDir path: System.properties['cytoloom.outdir'], mode: System.properties['cytoloom.publish_mode'], saveAs: { name -> published(job, name) }

    input:
    tuple val(job), path(inputs, stageAs: 'in/*')

    output:
    path({ job.outputs.collect { name -> "out/${name}" } }, emit: made, topic: made)

    script:
    script_of(job, task)

    stub:
    stub_of(job)
}
