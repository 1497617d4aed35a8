/*
 * The start of a run: parameters checked, bin/plan_pipeline.py run, the output folder held.
 * Functions only.
 */
include { engine; environment_path; failure_of; notes_of_failures; site_names; start_python; stop; write_whole } from './plan'
include { delete_parts; end_whole; keep_if_whole; sweep } from './trace'

// ---- Parameters

def declared_parameters() {
    def schema = new groovy.json.JsonSlurper().parse(file("${projectDir}/nextflow_schema.json").toFile())
    return schema['$defs'].values().inject([:]) { all, group -> all + group.properties }
}

/** Print the usage and end, or end with one line for each parameter that is unknown or missing. */
def check_parameters() {
    def declared = declared_parameters()
    if (params.help) {
        def usage = declared.findAll { _name, about -> !about.hidden }.collect { name, about ->
            def standard = about.containsKey('default') ? " [${about.default}]" : ''
            "  --${name.padRight(16)} ${about.description}${standard}"
        }
        println((['usage: nextflow run main.nf --pipeline p.yaml --outdir results [-profile …] [-resume]', ''] + usage).join('\n'))
        System.exit(0)
    }
    def unknown = params.keySet().findAll { name -> !declared.containsKey(name) }.groupBy { name -> plain_name(name) }.values()
    def lines = unknown.collect { names ->
        def near = declared.keySet().min { name -> distance(plain_name(name), plain_name(names[0])) }
        "unknown parameter --${as_typed(names[0])}; did you mean --${near}? (--help lists all)"
    }
    if (!params.pipeline && !params.plan) lines << 'no pipeline given: add --pipeline FILE.yaml'
    // Nextflow's own scripts name the work folder without quotes.
    if (workDir.toString() =~ /[$`\\\n]/) lines << "the work folder ${workDir} holds one of \$ ` \\: give another with -w"
    if (lines) stop(2, lines.join('\n'))
}

/** Nextflow holds --a-b as aB, in some versions under both names. */
def as_typed(name) {
    def dashed = name.replaceAll('([A-Z])', '-$1').toLowerCase()
    return workflow.commandLine.contains("--${dashed}") ? dashed : name
}

def plain_name(name) {
    return name.toLowerCase().replaceAll('[-_]', '')
}

/** Levenshtein's distance: how many letters to insert, delete or change. */
def distance(first, second) {
    def start = (0..second.size()).toList()
    return first.toList().inject(start) { above, letter ->
        second.toList().withIndex().inject([above[0] + 1]) { row, item ->
            def (other, i) = item
            row + [[row[i] + 1, above[i + 1] + 1, above[i] + (letter == other ? 0 : 1)].min()]
        }
    }.last()
}

// ---- One run at a time

/**
 * Hold the output folder until this process ends, however it ends: bin/cytoloom/run_lock.py
 * holds it for as long as the pipe to it is open. Then only is the trace, which Nextflow began
 * before it came here, put in the place of an earlier run's.
 */
def hold(outdir) {
    def holder = start_python('cytoloom.run_lock', [outdir])
    System.getProperties().put('cytoloom.holder', holder)
    def said = holder.inputReader().readLine()
    def info = new File("${file(params.outdir ?: '.')}/pipeline_info")
    def pid = ProcessHandle.current().pid()
    def trace = new File(info, ".trace-${pid}.txt")
    if (said != 'held') {
        trace.delete()
        stop(holder.waitFor(), said ?: 'the output folder cannot be locked')
    }
    def kept = new File(info, 'trace.txt')
    sweep(kept.toPath())
    delete_parts(info)
    info.listFiles().findAll { page -> page.name ==~ /\.(report|timeline)-\d+\.html/ }*.delete()
    if (trace.exists()) trace.renameTo(kept)
    Runtime.getRuntime().addShutdownHook(new Thread({
        end_whole(kept.toPath())
        ['report', 'timeline'].each { name -> keep_if_whole(new File(info, ".${name}-${pid}.html"), new File(info, "${name}.html")) }
    } as Runnable))
}

// ---- Results

/** Start what publishes (publish.nf), with a table of where each output goes that is a result. */
def start_publishing(steps, outdir) {
    def jobs = steps.collectMany { step -> step.phases.values().flatten() }
    def properties = System.getProperties()
    def places = jobs.inject([:]) { all, job -> all << (job.publish ?: [:]) }
    places.values().collect { place -> new File("${outdir}/${place}").parentFile }.toSet().each { folder -> delete_parts(folder) }
    properties.put('cytoloom.places', places)
    properties.put('cytoloom.publisher', start_python('cytoloom.publishing', [outdir, publish_mode(outdir)]))
}

/**
 * Results are hard links of files in the work folder: no second copy on the disk, and no harm
 * when the work folder goes. Between two file systems links cannot be: then they are copies.
 */
def publish_mode(outdir) {
    if (params.publish_mode) return params.publish_mode
    workDir.mkdirs()
    def from = file("${workDir}/.link-${workflow.sessionId}")
    def to = file("${outdir}/.link-${workflow.sessionId}")
    from.text = ''
    def mode = 'link'
    try {
        java.nio.file.Files.deleteIfExists(to)
        java.nio.file.Files.createLink(to, from)
    }
    catch (Exception _e) {
        mode = 'copy'
        System.err.println("cytoloom: ${outdir} cannot hold hard links of files in ${workDir}: results are copied")
    }
    java.nio.file.Files.deleteIfExists(to)
    java.nio.file.Files.deleteIfExists(from)
    return mode
}

// ---- The plan

/** Run the plan's program, or read the plan that --plan names. Ends the run when it fails. */
def make_plan() {
    def path = params.plan ? file(params.plan) : run_planner()
    if (!path.exists()) stop(66, "no plan: ${path}")
    def plan = plain(new groovy.json.JsonSlurper().parseText(path.text))
    def outdir = file(params.outdir ?: plan.outdir).toString()
    hold(outdir)
    def problem = write_whole("${outdir}/pipeline_info/plan.json", path.text) ?: write_whole("${outdir}/pipeline_info/engine.json", engine())
    if (problem) stop(75, "${outdir} cannot be written (${problem}): make room there and run again")
    start_publishing(plan.steps, outdir)
    begin_notes_of_failures(plan.positions > 1)
    def apart = plan.positions > 1 ? plan.steps.collectMany { step -> step.phases.values().flatten().findAll { job -> job.position }*.id } : []
    System.properties.put('cytoloom.apart', apart.toSet())
    // With --from, files of an earlier run join the stream.
    def given = (plan.given ?: []).collect { one -> java.nio.file.Path.of(one.path) }
    return [steps: plan.steps, given: given, outdir: outdir, mounts: plan.mounts ?: []]
}

/**
 * Where there are several positions, one that fails does not stop the others. What stood for
 * files that an earlier run could not make goes now, so that the tasks are not taken as done.
 */
def begin_notes_of_failures(several) {
    def notes = file("${workDir}/${notes_of_failures()}")
    (notes.exists() ? notes.list() : []).each { name ->
        def made = file("${workDir}/${name.replaceFirst('-', '/')}/out")
        (made.exists() ? made.listFiles() : []).findAll { path -> failure_of(path) != null }*.delete()
    }
    notes.deleteDir()
    if (several) notes.mkdirs()
}

/** The same with ordinary maps: those of JsonSlurper fill on first use, which two threads break. */
def plain(value) {
    if (value instanceof Map) return value.collectEntries { name, one -> [name, plain(one)] }
    return value instanceof List ? value.collect { one -> plain(one) } : value
}

def run_planner() {
    def folder = environment_path('core')
    if (!file("${folder}/bin/python").exists()) stop(66, "environment 'core' is missing: run ./cytoloom setup core")
    def path = file("${workDir}/plan-${workflow.sessionId}.json")
    path.parent.mkdirs()
    def command = ["${folder}/bin/python", "${projectDir}/bin/plan_pipeline.py", '--pipeline', params.pipeline, '--out', path]
    ['outdir', 'resources', 'input', 'until', 'from', 'sweep', 'assume_shape', 'scheduler'].plus(site_names()).each { name -> if (params[name]) command += ["--${name}", params[name]] }
    ['dry_run', 'verify_inputs'].each { name -> if (params[name]) command << "--${name}" }
    def builder = new ProcessBuilder(command.collect { word -> word.toString() }).inheritIO()
    builder.environment().put('PYTHONDONTWRITEBYTECODE', '1')
    builder.environment().keySet().removeAll(['PYTHONPATH', 'PYTHONHOME'])
    def code = builder.start().waitFor()
    if (code || params.dry_run) System.exit(code)
    return path
}
