/*
 * What was gathered of images into an estimate, which is a result too.
 */
include { image; script_of; stub_of; published } from '../plan'

process ESTIMATE {
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
