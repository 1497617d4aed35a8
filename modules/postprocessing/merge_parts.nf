/*
 * Parts of an analysis into the whole. What users may edit is published as a copy.
 */
include { image; script_of; stub_of; published } from '../plan'

process MERGE_PARTS {
    tag "${job.id}"
    label 'process_low'
    container { image(job) }
    publishDir path: System.properties['cytoloom.outdir'], mode: 'copy', saveAs: { name -> published(job, name) }

    input:
    tuple val(job), path(inputs, stageAs: 'in/*')

    output:
    path({ job.outputs.collect { name -> "out/${name}" } }, emit: made, topic: made)

    script:
    script_of(job, task)

    stub:
    stub_of(job)
}
