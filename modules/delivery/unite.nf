/*
 * Parts united by hard link. No container: a link between two bind mounts fails even on one
 * file system.
 */
include { script_of; stub_of; published } from '../plan'

process UNITE {
    tag "${job.id}"
    label 'process_host'
    publishDir path: System.properties['cytoloom.outdir'], mode: System.properties['cytoloom.publish_mode'], saveAs: { name -> published(job, name) }

    input:
    tuple val(job), path(inputs, stageAs: 'in/*')

    output:
    path 'out/*', emit: made, topic: made

    script:
    script_of(job, task)

    stub:
    stub_of(job)
}
