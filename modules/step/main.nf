/*
 * The jobs of one or more steps, each started as soon as its files are there.
 *
 * Every process sends its files to the topic 'made' and every job waits for its own on that
 * topic, so the stream runs in a circle. It ends because take() closes a process after its
 * known number of jobs. A job that did not make a planned file would leave its readers
 * waiting for ever: that is why each task checks its files (`epilogue`), why the plan is
 * checked beforehand, and why errorStrategy 'ignore' must not be used but where the plan says it
 * (dependency_type: afterany): there a note of what is lost goes into the stream instead.
 *
 * A stage takes its tools' channels out of the map; what is left has no process: an error.
 */
include { stop } from '../plan'
include { first_tasks; lost_notes; next_tasks; some_may_fail } from '../stream'
include { INGEST         } from '../ingest'
include { PREPROCESSING  } from '../preprocessing'
include { SEGMENTATION   } from '../segmentation'
include { TABULATION     } from '../tabulation'
include { TRACKING       } from '../tracking'
include { POSTPROCESSING } from '../postprocessing'
include { EVALUATION     } from '../evaluation'
include { DELIVERY       } from '../delivery'

workflow STEP {
    take:
    stages // Map: stage -> tool -> [job]
    given  // List: files of an earlier run

    main:
    def made = channel.topic('made').flatten()
        .mix(channel.fromList(given), some_may_fail() ? lost_notes() : channel.empty())
    def tasks = stages.collectEntries { stage, tools ->
        [stage, tools.collectEntries { tool, jobs ->
            def next = channel.fromList(first_tasks(jobs)).mix(made.flatMap(next_tasks(jobs)))
            [tool, next.take(jobs.size()).filter { item -> item[0] }]
        }]
    }
    if (tasks.ingest) INGEST(tasks.ingest)
    if (tasks.preprocessing) PREPROCESSING(tasks.preprocessing)
    if (tasks.segmentation) SEGMENTATION(tasks.segmentation)
    if (tasks.tabulation) TABULATION(tasks.tabulation)
    if (tasks.tracking) TRACKING(tasks.tracking)
    if (tasks.postprocessing) POSTPROCESSING(tasks.postprocessing)
    if (tasks.evaluation) EVALUATION(tasks.evaluation)
    if (tasks.delivery) DELIVERY(tasks.delivery)
    tasks.each { stage, left ->
        if (left) stop(70, "no process for ${left.keySet().join(', ')} in modules/${stage}/main.nf")
    }
}
