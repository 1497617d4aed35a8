/*
 * On the host, without a container: parts united by hard link, because a link between two bind
 * mounts fails even on one file system; and the crate, which looks at images and input.
 */
include { script_of; stub_of } from '../plan'

process UNITE {
    tag "${job.id}"
    label 'process_host'

    input:
    tuple val(job), path(inputs, stageAs: 'in/*')

    output:
    path({ job.outputs.collect { name -> "out/${name}" } }, emit: made, topic: made)

    script:
    script_of(job, task)

    stub:
    stub_of(job)
}
