/*
 * The end of a run: results copied where they cannot be links, failures said in few words, what
 * was left half-written taken away. Functions only.
 */
include { end_with; environment_path; failure_of; quote; start_python; write_whole } from './plan'
include { sweep; tried } from './trace'

/** After success clean up, if asked; after a failure say in few words what, and where. */
def finish(plan) {
    def info = "${plan.outdir}/pipeline_info"
    def failed = list_failures()
    def lost = System.properties['cytoloom.lost'].values()
    lost.each { one ->
        failed << say_failed(one.failed, one.folder)
        System.err.println("cytoloom: steps after it by afterany went on; ${one.ids.size() - 1} tasks that need it did not run")
    }
    sweep(file("${info}/trace.txt"))
    def written = copies_are_whole() && keep_list_of_files(info)
    if (!workflow.success && workflow.errorReport) failed += summarise(plan.outdir)
    if (workflow.stubRun) return
    if (failed && written) describe_failure(plan, failed)
    if (workflow.success && !failed && written) {
        def missing = published_paths(plan.outdir).any { path -> !java.nio.file.Files.exists(path) }
        if (missing) say_unwritten(plan.outdir)
        else if (params.cleanup) clean(plan)
    }
}

// ---- Results

/** Hand a file to the copier (bin/cytoloom/copies.py), if it is a result and results are copies. */
def copy_result(path) {
    def places = System.properties['cytoloom.copies'] ?: [:]
    if (places[path.name]) copy(path, places[path.name])
}

def copy(path, place) {
    try {
        def pipe = System.properties['cytoloom.copier'].outputWriter()
        pipe.write(groovy.json.JsonOutput.toJson([path.toString(), place]) + '\n')
        pipe.flush()
    }
    catch (IOException _e) {
        // It has ended, and says why.
    }
}

/** Wait for the copier; true if all copies are whole. */
def copies_are_whole() {
    def copier = System.properties['cytoloom.copier']
    if (!copier) return true
    try {
        copier.outputWriter().close()
    }
    catch (IOException _e) {
        // It has ended, and says why.
    }
    def said = copier.inputReader().readLines()
    def code = copier.waitFor()
    said.each { line -> System.err.println("cytoloom: ${line}") }
    if (code) end_with(code)
    return !code
}

def published_paths(outdir) {
    return System.properties['cytoloom.publish'].values().collectMany { places -> places.values() }.collect { place -> java.nio.file.Path.of("${outdir}/${place}") }
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
 * Delete the folders of all tasks of this run, those of failed attempts too. Results are hard
 * links, so they stay; -resume and --from have nothing left to begin with.
 */
def clean(plan) {
    if (System.properties['cytoloom.publish_mode'] != 'link') {
        System.err.println("cytoloom: results are copies, so --cleanup leaves ${workDir}: delete it when they are whole")
        return
    }
    def info = "${plan.outdir}/pipeline_info"
    def made = file("${info}/files.tsv").readLines().collect { line -> java.nio.file.Path.of(line.split('\t')[1]) } - plan.given
    def folders = (made.collect { path -> path.parent.parent } + tried(file("${info}/trace.txt"))*.folder).toSet()
    folders.findAll { folder -> folder.startsWith(workDir) && folder.nameCount == workDir.nameCount + 2 }.each { folder ->
        folder.deleteDir()
        if (folder.parent.exists() && !folder.parent.list()) folder.parent.deleteDir()
    }
}

// ---- Failures: each of these functions gives lines that say what failed

/** The positions that failed; files that stand for what they lack are taken away. */
def list_failures() {
    def failures = System.properties['cytoloom.failures'] ?: [:]
    def said = failures.values().toSet().sort()
    def outdir = System.properties['cytoloom.outdir']
    def places = (System.properties['cytoloom.publish'] ?: [:]).values().inject([:]) { all, one -> all + one }
    failures.keySet().each { path ->
        def name = file(path).name
        def result = places[name] ? file("${outdir}/${places[name]}") : null
        if (result && result.exists() && failure_of(result) != null) {
            result.delete()
            if (!result.parent.list()) result.parent.delete()
        }
        file(path).delete()
    }
    if (outdir) file("${outdir}/pipeline_info/failed.txt").delete()
    if (!said) return []
    file("${outdir}/pipeline_info/failed.txt").text = said.join('\n') + '\n'
    def positions = said.collect { line -> line.tokenize(':')[0] }.toSet()
    System.err.println("cytoloom: ${positions.size()} position${positions.size() > 1 ? 's' : ''} failed, the others are done; -resume tries again:")
    said.each { line -> System.err.println("cytoloom:   ${line}") }
    end_with(65)
    return said
}

/** Which task ended the run. */
def summarise(outdir) {
    def report = workflow.errorReport
    if (report.contains('Failed to publish file')) {
        say_unwritten(outdir)
        return []
    }
    def task = (report =~ /(?s)process > '[^']*? \((.*?)\)'\n/)
    def folder = (report =~ /Work dir:\s+(\S.*)/)
    def said = task.find() && folder.find() ? say_failed(task.group(1), folder.group(1)) : report.trim().readLines()[0]
    // Nextflow itself ends with 1 whatever the task's exit status was: ./cytoloom asks for it.
    // A task that was killed without leaving a status has the largest of all numbers.
    if (workflow.exitStatus) end_with(workflow.exitStatus > 255 ? 75 : workflow.exitStatus)
    return [said]
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

/** The crate of a run that failed: what there is, and why it is not all. */
def describe_failure(plan, failed) {
    def job = plan.steps.findAll { step -> step.tools.core == 'CRATE' }.collectMany { step -> step.phases.core }.find()
    if (!job) return
    def scratch = file("${workDir}/failed-${workflow.sessionId}")
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
    System.getProperties().put('cytoloom.copier', start_python('cytoloom.copies', plan.outdir))
    job.publish.each { name, place ->
        if (file("${scratch}/out/${name}").exists()) copy("${scratch}/out/${name}", place)
        // A text for a paper would tell of a whole run.
        else file("${plan.outdir}/${place}").delete()
    }
    copies_are_whole()
    scratch.deleteDir()
}
