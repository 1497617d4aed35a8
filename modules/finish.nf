/*
 * The end of a run: results in place, failures said in few words, what was left half-written taken
 * away. Functions only.
 */
include { end_with; environment_path; notes_of_failures; quote; write_whole } from './plan'
include { publish } from './publish'
include { sweep; tried } from './trace'

/** After success clean up, if asked; after a failure say in few words what, and where. */
def finish(plan) {
    def info = "${plan.outdir}/pipeline_info"
    def failed = list_failures()
    def lost = System.properties['cytoloom.lost'].values().toList()
    lost.each { one ->
        failed << say_failed(one.failed, one.folder)
        System.err.println("cytoloom: what does not need it went on; ${one.ids.size() - 1} tasks that need it did not run")
    }
    if (lost) end_with(exit_of(lost[0].folder))
    if (!workflow.success && workflow.errorReport) failed << summarise()
    sweep(file("${info}/trace.txt"))
    if (failed && !workflow.stubRun) describe_failure(plan, failed)
    def written = all_is_published() && keep_list_of_files(info)
    [scratch_folder(), file("${workDir}/${notes_of_failures()}")]*.deleteDir()
    if (workflow.stubRun) return
    if (workflow.success && !failed && written) {
        def places = System.properties['cytoloom.places'].values()
        if (places.any { place -> !file("${plan.outdir}/${place}").exists() }) say_unwritten(plan.outdir)
        else if (params.cleanup) clean(plan)
    }
}

// ---- Results

/** Wait for the end of what publishes; true if all results are in place. */
def all_is_published() {
    def publisher = System.properties['cytoloom.publisher']
    try {
        publisher.outputWriter().close()
    }
    catch (IOException _e) {
        // It has ended, and says why.
    }
    def said = publisher.inputReader().readLines()
    def code = publisher.waitFor()
    if (code > 128) said << "results are missing in ${System.properties['cytoloom.outdir']}: what puts them there was killed; run again with -resume"
    said.each { line -> System.err.println("cytoloom: ${line}") }
    if (code) end_with(code > 128 ? 75 : code)
    return !code
}

def say_unwritten(outdir) {
    System.err.println("cytoloom: results could not be written to ${outdir}: make room there (or get the right to write) and run again with -resume")
    end_with(75)
}

/** Put the list of files, which the run made in the work folder, into the output folder; true if it is there. */
def keep_list_of_files(info) {
    def made = file("${workDir}/files-${workflow.sessionId}.tsv")
    if (!made.exists()) return true
    def problem = write_whole("${info}/files.tsv", made.text)
    made.delete()
    if (problem) say_unwritten(info)
    return !problem
}

/**
 * Delete the folders of all tasks of this run, those of failed attempts too. Results are links
 * or copies, so they stay; -resume and --from have nothing left to begin with.
 */
def clean(plan) {
    def info = "${plan.outdir}/pipeline_info"
    def made = file("${info}/files.tsv").readLines().collect { line -> java.nio.file.Path.of(line.split('\t')[1]) } - plan.given
    def folders = (made.collect { path -> path.parent.parent } + tried(file("${info}/trace.txt"))*.folder).toSet()
    folders.findAll { folder -> folder.startsWith(workDir) && folder.nameCount == workDir.nameCount + 2 }.each { folder ->
        folder.deleteDir()
        if (folder.parent.exists() && !folder.parent.list()) folder.parent.deleteDir()
    }
}

// ---- Failures: each of these functions gives lines that say what failed

/** The positions that failed; what an earlier run published in the place of what they lack goes. */
def list_failures() {
    def failures = System.properties['cytoloom.failures'] ?: [:]
    def said = failures.values().toSet().sort()
    def outdir = System.properties['cytoloom.outdir']
    def places = System.properties['cytoloom.places'] ?: [:]
    failures.keySet().each { path ->
        def name = file(path).name
        def result = places[name] ? file("${outdir}/${places[name]}") : null
        if (result && result.exists()) {
            result.isDirectory() ? result.deleteDir() : result.delete()
            if (!result.parent.list()) result.parent.delete()
        }
        file(path).delete()
    }
    if (outdir) file("${outdir}/pipeline_info/failed.txt").delete()
    if (!said) return []
    write_whole("${outdir}/pipeline_info/failed.txt", said.join('\n') + '\n')
    def positions = said.collect { line -> line.tokenize(':')[0] }.toSet()
    System.err.println("cytoloom: ${positions.size()} position${positions.size() > 1 ? 's' : ''} failed, the others are done; -resume tries again:")
    said.each { line -> System.err.println("cytoloom:   ${line}") }
    end_with(65)
    return said
}

/** The exit status of a task; that of a temporary failure where it left none. */
def exit_of(folder) {
    def left = file("${folder}/.exitcode")
    def text = left.exists() ? left.text.trim() : ''
    return text.isInteger() && text.toInteger() in 1..255 ? text.toInteger() : 75
}

/** Which task ended the run. */
def summarise() {
    def report = workflow.errorReport
    def task = (report =~ /(?s)process > '[^']*? \((.*?)\)'\n/)
    def folder = (report =~ /Work dir:\s+(\S.*)/)
    def said = task.find() && folder.find() ? say_failed(task.group(1), folder.group(1)) : report.trim().readLines()[0]
    // Nextflow itself ends with 1 whatever the task's exit status was: ./cytoloom asks for it.
    // A task that was killed without leaving a status has the largest of all numbers.
    if (workflow.exitStatus) end_with(workflow.exitStatus > 255 ? 75 : workflow.exitStatus)
    return said
}

/** What a task said and where its folder is. */
def say_failed(task, folder) {
    def said = "${task}: ${last_words(folder)}".toString()
    System.err.println("cytoloom: failed: ${said}")
    def again = workflow.containerEngine ? '.command.run' : '.command.sh'
    System.err.println("cytoloom: its folder: ${folder} (bash ${again} runs it again)")
    return said
}

/** The last line that a task said, else what the scheduler said of it. */
def last_words(folder) {
    def (own, all) = ['.command.err', '.command.log'].collect { name ->
        def said = file("${folder}/${name}")
        said.exists() ? said.readLines().findAll { line -> line.trim() } : []
    }
    def scheduler = all.findAll { line -> line ==~ /slurmstepd\S*: error: .*/ }
    if (scheduler) return scheduler[0].replaceFirst(/^\S+ error: /, '')
    return own ? own.last() : 'no message'
}

def scratch_folder() {
    return file("${workDir}/failed-${workflow.sessionId}")
}

/** The crate of a run that failed: what there is, and why it is not all. */
def describe_failure(plan, failed) {
    def job = plan.steps.findAll { step -> step.tools.core == 'CRATE' }.collectMany { step -> step.phases.core }.find()
    if (!job) return
    def scratch = scratch_folder()
    scratch.deleteDir()
    ['in', 'out'].each { name -> file("${scratch}/${name}").mkdirs() }
    file("${scratch}/failed.txt").text = failed.join('\n') + '\n'
    def paths = "${quote(environment_path('core'))}/bin:${quote(projectDir)}/bin:\"\$PATH\""
    def command = "export PATH=${paths} PYTHONDONTWRITEBYTECODE=1; ${job.command} --failed failed.txt --trace ${quote("${plan.outdir}/pipeline_info/trace.txt")}"
    def builder = new ProcessBuilder(['bash', '-c', command.toString()]).directory(scratch.toFile()).redirectErrorStream(true)
    builder.environment().keySet().removeAll(['PYTHONPATH', 'PYTHONHOME'])
    def process = builder.start()
    def said = process.inputReader().readLines()
    if (process.waitFor()) System.err.println("cytoloom: no crate of the failed run: ${said ? said.last() : 'no message'}")
    job.publish.each { name, place ->
        if (file("${scratch}/out/${name}").exists()) publish("${scratch}/out/${name}", place)
        // A text for a paper would tell of a whole run.
        else file("${plan.outdir}/${place}").delete()
    }
}
