/*
 * The stream of files: which job can start when. Functions only.
 *
 * A job starts when its files are there. `dependency` of the resource YAML adds to that: a step
 * that waits for another starts when all files of the other are there. Where it waits by
 * `afterany` and needs no data of the other, it also starts when the other has failed. Then the
 * failure does not end the run; a note in the stream says what will not be made, so that each
 * process still ends after its planned number of jobs. A job that gathers (`incomplete` of the
 * plan: what its command gets added) then does without what is lost: what is whole is delivered.
 */

// ---- Jobs that start

/** A channel of notes of what will not be made, where some failure does not end the run. */
def lost_notes() {
    def notes = new groovyx.gpars.dataflow.DataflowQueue()
    System.properties['cytoloom.notes'] << notes
    return notes
}

/** Count jobs that start or are lost; when none is left, nothing needs a note any more. */
def count_down(number) {
    if (System.properties['cytoloom.left'].addAndGet(-number) == 0) end_notes()
}

def end_notes() {
    System.properties['cytoloom.notes'].each { notes -> notes << groovyx.gpars.dataflow.operator.PoisonPill.instance }
}

/** Whether there are steps after whose failure others go on. */
def some_may_fail() {
    return !System.properties['cytoloom.may_fail'].isEmpty()
}

/** Names of the files that must be there before any of these jobs starts, besides their own. */
def after_of(jobs) {
    return (jobs ? System.properties['cytoloom.after'][jobs[0].id] : null) ?: []
}

/** Tasks of the jobs that need no files: [job, [path]]. */
def first_tasks(jobs) {
    def first = after_of(jobs) ? [] : jobs.findAll { job -> !job.inputs }
    count_down(first.size())
    return first.collect { job -> [job, []] }
}

/**
 * A closure that takes the next file of the stream and gives the tasks that can start now:
 * those which it completes, once all is there that they wait for besides. Their paths are
 * sorted by name: the order of arrival must not change the hash of a task. For a job that can
 * not run any more it gives [null, []], so that as many come as were planned.
 */
def next_tasks(jobs) {
    def found = jobs.collectEntries { job -> [job.id, []] }
    def wanted = jobs.collectEntries { job -> [job.id, job.inputs.size()] }
    def readers = [:]
    jobs.each { job -> job.inputs.each { name -> readers.get(name, []) << job } }
    def after = after_of(jobs).toSet()
    def ready = after ? jobs.findAll { job -> !job.inputs } : []
    return { path ->
        def lost = System.properties['cytoloom.lost'][path.name]
        def never = lost ? found.keySet().findAll { id -> lost.ids.contains(id) } : []
        if (lost) after.removeAll(lost.gone)
        else after.remove(path.name)
        found.keySet().removeAll(never)
        ready.removeAll { job -> never.contains(job.id) }
        (lost ? [] : readers.remove(path.name) ?: []).findAll { job -> found.containsKey(job.id) }.each { job ->
            found[job.id] << path
            if (found[job.id].size() == wanted[job.id]) ready << job
        }
        (lost ? lost.fewer : [:]).findAll { id, _names -> found.containsKey(id) }.each { id, names ->
            wanted[id] = names.size()
            found[id] = found[id].findAll { one -> names.contains(one.name) }
            readers.each { name, waiting -> if (!names.contains(name)) waiting.removeAll { job -> job.id == id } }
            ready.removeAll { job -> job.id == id }
            if (found[id].size() == wanted[id]) ready << jobs.find { job -> job.id == id }
        }
        def started = after ? [] : ready.collect { job -> with_what_is_there(job, found.remove(job.id).sort { one -> one.name }) }
        if (!after) ready.clear()
        count_down(started.size() + never.size())
        started + never.collect { _id -> [null, []] }
    }
}

/** A job that starts, [job, [path]]; the command of one that does without some files says so. */
def with_what_is_there(job, paths) {
    if (paths.size() == job.inputs.size()) return [job, paths]
    return [job + [command: "${job.command} ${System.properties['cytoloom.incomplete'][job.id]}".trim().toString()], paths]
}

// ---- Jobs that wait for others, and what is lost with a job

/** What `dependency` of the resource YAML adds to the order that files make. */
def share_order(steps) {
    def after = steps.inject([:]) { all, step -> all + waits_of(step) }
    def jobs = steps.collectMany { step -> step.phases.values().flatten() }
    def may_fail = steps.findAll { step -> step.may_fail }.collectMany { step -> step.phases.values().flatten()*.id }.toSet()
    def strictly = after.collectEntries { id, waits -> [id, waits.findAll { wait -> !wait.any }] }
    def properties = System.getProperties()
    properties.put('cytoloom.after', files_of(after, steps))
    properties.put('cytoloom.lost', Collections.synchronizedMap([:]))
    properties.put('cytoloom.notes', [])
    properties.put('cytoloom.left', new java.util.concurrent.atomic.AtomicInteger(jobs.size()))
    properties.put('cytoloom.may_fail', may_fail)
    properties.put('cytoloom.incomplete', jobs.findAll { job -> job.incomplete != null }.collectEntries { job -> [job.id, job.incomplete] })
    // For conf/: what becomes of the run when a task has failed for good.
    properties.put('cytoloom.failed', { task ->
        if (may_fail.contains(task.tag)) lose(task, jobs, files_of(strictly, steps))
        else end_notes()
        may_fail.contains(task.tag) ? 'ignore' : 'finish'
    })
}

/** What the jobs of a step wait for: job -> [step, phase, any]. */
def waits_of(step) {
    def waits = step.after ?: [:]
    return step.phases.collectMany { phase, jobs -> waits[phase] ? jobs.collect { job -> [job.id, waits[phase]] } : [] }
        .collectEntries { pair -> pair }
}

/** The files that jobs wait for: job -> [step, phase] becomes job -> [file]. */
def files_of(after, steps) {
    def outputs = steps.collectEntries { step ->
        [step.tag, step.phases.collectEntries { phase, jobs -> [phase, jobs.collectMany { job -> job.outputs }] }]
    }
    def names = after.values().toSet().collectEntries { waits ->
        [waits, waits.collectMany { wait -> wait.phase ? outputs[wait.step][wait.phase] : outputs[wait.step].values().flatten() }]
    }
    return after.collectEntries { id, waits -> [id, names[waits]] }
}

/** Note a failed job and all that cannot be made without it, and tell the stream. */
def lose(task, jobs, strictly_after) {
    def lost = System.properties['cytoloom.lost']
    def first = jobs.find { job -> job.id == task.tag }
    def earlier = lost.values()
    def (ids, gone) = with_readers(
        earlier.collectMany { one -> one.ids }.toSet() + first.id, earlier.collectMany { one -> one.gone }.toSet() + first.outputs, jobs, strictly_after)
    def fewer = jobs.findAll { job -> job.incomplete != null && !ids.contains(job.id) && job.inputs.any { name -> gone.contains(name) } }
        .collectEntries { job -> [job.id, whole_layers(job.inputs, gone).toSet()] }
    def name = "lost-${lost.size()}".toString()
    lost.put(name, [failed: task.tag, folder: task.workDir.toString(), ids: ids - earlier.collectMany { one -> one.ids }, gone: gone, fewer: fewer])
    System.properties['cytoloom.notes'].each { notes -> notes << [name: name] }
}

/** Ids and outputs of jobs, with those that need them, directly or through others. */
def with_readers(ids, gone, jobs, strictly_after) {
    def next = jobs.findAll { job ->
        !ids.contains(job.id) && cannot_run(job, gone, strictly_after[job.id] ?: [])
    }
    return next
        ? with_readers(ids + next*.id, gone + next*.outputs.flatten(), jobs, strictly_after)
        : [ids, gone]
}

def cannot_run(job, gone, after) {
    if (after.any { name -> gone.contains(name) }) return true
    return job.inputs.any { name -> gone.contains(name) } && (job.incomplete == null || !whole_layers(job.inputs, gone))
}

/** Files of layers that lack none. */
def whole_layers(names, gone) {
    def touched = names.findAll { name -> gone.contains(name) }.collect { name -> layer_of(name) }.toSet()
    return names.findAll { name -> !gone.contains(name) && !touched.contains(layer_of(name)) }
}

/** A name is <position>.<tag>.<channel>.<kind>.<part>.<ext>. */
def layer_of(name) {
    return name.endsWith('.provenance.json') ? name : name.tokenize('.').take(4).join('.')
}
