/*
 * The plan as the graph needs it: jobs in their slots, tables, the script of a task. Functions only;
 * included by many, so it may not include others (25.04 would define those twice).
 *
 * A job, as a process sees it, holds only what its result depends on, because Nextflow hashes
 * it. What must not be hashed (processors, memory, queue, published names) is looked up in
 * tables kept in System.properties: the one store that scripts, modules and config closures
 * share in every Nextflow version, in both of its parsers.
 */
// ---- Environments

def cache_folder() {
    def env = System.getenv()
    return env.CYTOLOOM_CACHE ?: "${env.XDG_CACHE_HOME ?: env.HOME + '/.cache'}/cytoloom"
}

def environments_folder() {
    return params.envs ? file(params.envs).toString() : "${cache_folder()}/envs"
}

def environment_path(family) {
    return "${environments_folder()}/${environment_of(family)}"
}

/** Folder name of a family's environment: it changes with the lock file. */
def environment_of(family) {
    def lock = file("${projectDir}/containers/${family}/requirements.lock")
    return lock.exists() ? "${family}-${lock.bytes.digest('SHA-256').take(12)}" : family
}

def missing_environment(environment) {
    def family = family_of(environment)
    return "environment '${family}' is missing: run ./cytoloom setup ${family}"
}

def missing_image(image) {
    return "image '${image}.sif' is missing: run ./cytoloom images ${family_of(image)}"
}

def family_of(name) {
    return name.replaceAll('-[0-9a-f]{12}$', '')
}

/** Start a module of bin/cytoloom that needs no more than Python. */
def start_python(module, words) {
    def python = "${environment_path('core')}/bin/python"
    def command = [file(python).exists() ? python : 'python3', '-m', module] + words
    def builder = new ProcessBuilder(command.collect { word -> word.toString() })
    builder.directory(file("${projectDir}/bin").toFile()).redirectError(ProcessBuilder.Redirect.INHERIT)
    builder.environment().keySet().removeAll(['PYTHONPATH', 'PYTHONHOME'])
    builder.environment().put('PYTHONDONTWRITEBYTECODE', '1')
    return builder.start()
}

// ---- Ends

/** End the run with a message and nothing else. */
def stop(code, message) {
    System.err.println("cytoloom: ${message}".replace('\n', '\ncytoloom: '))
    System.err.flush()
    System.exit(code)
}

/**
 * Make a run that comes to its end one that failed. Nextflow itself then ends with 1,
 * ./cytoloom, which names the file, with the code.
 */
def end_with(code) {
    def asked = System.getenv('CYTOLOOM_EXIT_FILE')
    if (asked) file(asked).text = code.toString()
    def session = nextflow.Global.session
    def aborted = nextflow.Session.getDeclaredField('aborted')
    aborted.setAccessible(true)
    aborted.setBoolean(session, true)
}

/** Write a file whole or not at all; gives what is wrong where it cannot. */
def write_whole(path, text) {
    def target = java.nio.file.Path.of(path.toString())
    def temporary = target.resolveSibling(".${target.fileName}.part-${ProcessHandle.current().pid()}")
    try {
        java.nio.file.Files.writeString(temporary, text)
        java.nio.file.Files.move(temporary, target, java.nio.file.StandardCopyOption.REPLACE_EXISTING)
        return null
    }
    catch (IOException error) {
        java.nio.file.Files.deleteIfExists(temporary)
        return error.message
    }
}

// ---- The plan

/** What holds for all jobs on a cluster, where the resource YAML says nothing else. */
def site_names() {
    return ['partition', 'gpu_partition', 'gpu_type', 'account', 'qos']
}

/** What the crate of a run says of Nextflow: nothing that changes from run to run by itself. */
def engine() {
    return groovy.json.JsonOutput.toJson([
        nextflow: workflow.nextflow.version.toString(), java: System.getProperty('java.version'),
        profile: workflow.profile, user: workflow.userName,
        container: workflow.containerEngine ?: '',
        images: workflow.containerEngine ? file(image_file('x')).parent.toString() : '',
        parameters: params.findAll { name, value -> name != 'plan' && value != null && value != false }.collectEntries { name, value -> [name, value.toString()] },
    ])
}

/**
 * Arrange the plan's jobs as slot -> stage -> tool -> [job] and fill the tables.
 *
 * Steps share a slot only where they share no tool, so that all tasks of a process have one
 * step's resources (a SLURM array needs that) and its input ends with that step.
 */
def slots_of(plan) {
    def slots = [:]
    def made = new HashSet(plan.given*.name)
    def ids = new HashSet()
    def resources = [:]
    plan.steps.each { step ->
        def tools = tools_of(step)
        def slot = free_slot(slots, step, tools.keySet())
        tools.each { tool, planned ->
            def jobs = planned.jobs.collect { job -> task_of(job) }
            def process = "STEP_${slot}:${step.stage.toUpperCase()}:${tool}".toString()
            resources[process] = step.resources ? step.resources[planned.phase] : [:]
            jobs.each { job ->
                if (!ids.add(job.id)) stop(70, "plan: two jobs are named '${job.id}'")
                job.inputs.each { name -> if (!made.contains(name)) stop(70, "plan: '${job.id}' needs ${name}, which nothing before it makes") }
            }
            jobs.each { job ->
                job.outputs.each { name -> if (!made.add(name)) stop(70, "plan: ${name} is made twice, by '${job.id}' too") }
            }
            slots.get(slot, [:]).get(step.stage, [:])[tool] = jobs
        }
    }
    share(resources, plan)
    check_environments(slots)
    return slots
}

/** The phases of a step in order, as tool -> [phase, jobs]. */
def tools_of(step) {
    return step.phases.collectEntries { phase, jobs -> [step.tools[phase], [phase: phase, jobs: jobs]] }
}

/** A slot from the tag alone, or the next where another step has taken one of the tools. */
def free_slot(slots, step, tools) {
    def most = 32
    def first = Math.floorMod(step.tag.toString().hashCode(), most)
    def slot = (0..<most).collect { i -> (first + i) % most + 1 }.find { i ->
        !tools.any { tool -> slots[i] && slots[i][step.stage] && slots[i][step.stage][tool] }
    }
    if (!slot) stop(65, "step '${step.tag}': more than ${most} steps use ${tools.join(' or ')}; split the pipeline into two")
    return slot
}

/** What a task's result depends on, always in the same order: this is what Nextflow hashes. */
def task_of(job) {
    return [
        id: job.id, command: job.command, code: (job.code ?: '') + (job.reads_engine ? " engine ${engine().digest('SHA-256').take(16)}" : ''), inputs: job.inputs, outputs: job.outputs,
        position: job.position ?: '', environment: job.environment ?: (job.family ? environment_of(job.family) : ''),
    ] + (workflow.containerEngine ? [image: job.image ?: ''] : [:])
}

def share(resources, plan) {
    def properties = System.getProperties()
    properties.put('cytoloom.outdir', plan.outdir)
    properties.put('cytoloom.failures', new java.util.concurrent.ConcurrentHashMap())
    properties.put('cytoloom.binds', binds(plan.mounts))
    // For conf/: the plan's value, or another where it gives none. By process, not by job: the
    // task that stands for a SLURM array has no job, yet its directives are what sbatch gets.
    properties.put('cytoloom.resource', { task, name, otherwise ->
        def value = resources[task.process] ? resources[task.process][name] : null
        value == null ? otherwise : value
    })
    def site = site_names().collectEntries { name -> [name, params[name]] }
    properties.put('cytoloom.asked', { task -> for_scheduler(resources[task.process] ?: [:], site) })
}

/** Partition and options of sbatch: the plan's, else the site's. As Site in bin/cytoloom/plan/submissions.py. */
def for_scheduler(asked, site) {
    def gpu = asked.gres ? asked.gres.startsWith('gpu') : false
    def count = gpu ? (asked.gres =~ '^gpu(:[0-9]+)?\$') : null
    def gres = site.gpu_type && count ? "gpu:${site.gpu_type}${count[0][1] ?: ':1'}" : asked.gres
    def options = ['job-name': asked.name, gres: gres, account: site.account, qos: site.qos] + (asked.options ?: [:])
    def words = options.findAll { _name, value -> value }.collect { name, value -> "--${name}=${value}" }
    return [
        partition: asked.partition ?: (gpu ? site.gpu_partition : null) ?: site.partition,
        sbatch: (words + [params.cluster_options]).findAll().join(' '),
    ]
}

def check_environments(slots) {
    if (workflow.stubRun) return
    def jobs = slots.values()*.values().flatten()*.values().flatten()
    def images = jobs*.image.findAll().toSet().sort()
    // With images, only the uniting of parts is done by an environment.
    def environments = images ? [environment_of('core')] : jobs*.environment.findAll().toSet().sort()
    def missing = images.findAll { name -> !file(image_file(name)).exists() }.collect { name -> missing_image(name) }
    missing += environments.findAll { name -> !file("${environments_folder()}/${name}").exists() }.collect { name -> missing_environment(name) }
    if (missing) stop(66, missing.join('\n'))
}

// ---- A task's script

def quote(text) {
    return "'" + text.toString().replace("'", "'\\''") + "'"
}

def image_file(name) {
    return "${params.images ? file(params.images) : cache_folder() + '/images'}/${name}.sif"
}

/** The image of a job; the task that stands for a SLURM array has no job: its elements have theirs. */
def image(job) {
    return job && job.image ? image_file(job.image) : null
}

/** Options that make folders seen in an image under their own path, odd characters and all. */
def binds(folders) {
    return folders.collect { folder ->
        def path = folder.replace('"', '""')
        '--mount ' + quote("type=bind,\"source=${path}\",\"destination=${path}\"")
    }.join(' ')
}

/**
 * The job's command with its programs on the PATH and its files checked. All of it is in the
 * script, so that `.command.sh` can be run again by hand. A planned file that is not there is
 * an error of this task: later ones would wait for it.
 */
def script_of(job, task) {
    def folder = "${environments_folder()}/${job.environment}"
    def own = job.environment && !task.container
    def paths = (own ? ["${folder}/bin"] : []) + ["${projectDir}/bin"]
    // In an image the environment begins empty.
    def cache = task.container ? " CYTOLOOM_CACHE=${quote(cache_folder())}" : ''
    def threads = ['CYTOLOOM_CORES', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'NUMEXPR_NUM_THREADS']
    return [
        own ? "[ -d ${quote(folder)} ] || { echo ${quote(missing_environment(job.environment))} >&2; exit 66; }" : ':',
        "export PATH=${paths.collect { path -> quote(path) }.join(':')}:\"\$PATH\" PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1${cache}",
        'unset PYTHONPATH PYTHONHOME',
        "export ${threads.collect { name -> "${name}=${task.cpus}" }.join(' ')} CYTOLOOM_MEMORY_MB=${task.memory ? task.memory.toMega() : ''}",
        // What a killed program leaves half-written has a name of its own: .<output>.part-*
        "trap 'rm -rf out/.*.part-*' EXIT",
        'rm -rf out && mkdir out',
        prologue_of(job, task),
        'set +e',
        "{ ( set -e; ${job.command} ) 2>&1 1>&3 3>&- | tee .said 1>&2 3>&-; } 3>&1",
        'status=$?',
        'set -e',
        "[ \$status != 0 ] || for name in ${quoted(job.outputs)}; do [ -e \"out/\$name\" ] || { echo ${quote(job.id)}\": did not make \$name\" | tee .said >&2; status=70; break; }; done",
        // Results are links of these files, so nobody may write into them; a CSV may be edited.
        "[ \$status != 0 ] || find out -type f ! -name '*.csv' -exec chmod a-w {} +",
        epilogue_of(job, task),
    ].join('\n')
}

/**
 * A position that fails does not stop the others, where there are several. Its task leaves
 * files that say so in the place of those planned; tasks of that position that read such a
 * file leave more of them; tasks that gather positions leave them out. A note in the work
 * folder says which tasks left any, so that a resumed run, which runs those tasks again, can
 * delete them however this one ends (`begin_notes_of_failures`). A task that is killed
 * (memory, time) is tried three times; where the third time its script was killed with it, a
 * fourth does nothing but leave those files.
 */
def prologue_of(job, task) {
    def test = "is_failed() { local start=; [ -f \"\$1\" ] && { IFS= read -r -N ${failed_mark().size()} start < \"\$1\" || true; } 2> /dev/null; [ \"\$start\" = ${quote(failed_mark())} ]; }"
    def leave = [
        'fail() {',
        "    { : > \"../../${notes_of_failures()}/\$(basename \"\${PWD%/*}\")-\${PWD##*/}\"; } 2> /dev/null || true",
        '    rm -rf out; mkdir out',
        "    for name in ${quoted(job.outputs)}; do echo ${quote(failed_mark())}\" \$1\" > \"out/\$name\"; done",
        '}',
    ].join('\n')
    def met = job.position ? 'fail "$(head -n 1 "$file" | cut -d " " -f 2-)"; exit 0' : 'rm -f "$file"'
    def given_up = job.position && task.attempt > 3
        ? "fail ${quote("${job.position}: ${job.id}: killed three times (memory, time, or its node)")}; exit 0"
        : ':'
    return [test, leave, given_up, "for file in in/*; do if is_failed \"\$file\"; then ${met}; fi; done"].join('\n')
}

def epilogue_of(job, task) {
    if (!job.position) return 'exit $status'
    def again = task.attempt < 3 ? ' && [ $status != 75 ] && [ $status -lt 128 ]' : ''
    return [
        "if [ \$status != 0 ]${again} && [ -e ../../${notes_of_failures()} ]; then",
        "    if [ \$status -ge 128 ]; then echo ${quote(job.id)}\": ended by signal \$((status - 128))\" > .said; fi",
        "    fail ${quote(job.position + ': ')}\"\$({ grep . .said || echo \"ended with status \$status\"; } | tail -n 1)\"",
        '    exit 0',
        'fi',
        'exit $status',
    ].join('\n')
}

/** In the work folder; there while positions that fail do not stop others. */
def notes_of_failures() {
    return ".failures-${workflow.sessionId}"
}

def failed_mark() {
    return 'cytoloom-failed:'
}

/** What a file in the place of a planned one says of a failure, or null. */
def failure_of(path) {
    def one = path.toFile()
    if (!one.isFile() || one.length() > 100000 || !one.text.startsWith(failed_mark())) return null
    return one.text.trim() - "${failed_mark()} "
}

/** Note a file that says of a failure; true if it does. */
def note_failure(path) {
    def said = failure_of(path)
    if (said == null) return false
    System.properties['cytoloom.failures'].put(path.toString(), said)
    return true
}

def stub_of(job) {
    return "rm -rf out && mkdir out && cd out && touch ${quoted(job.outputs)}"
}

def quoted(names) {
    return names.collect { name -> quote(name) }.join(' ')
}
