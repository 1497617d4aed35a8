/*
 * A table of cells into tracks, edges and TrackMate's own file, in Java.
 */
include { image; script_of; stub_of } from '../plan'

process TRACK_IN_JAVA {
    tag "${job.id}"
    label 'process_jvm'
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
