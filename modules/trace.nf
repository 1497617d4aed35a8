/*
 * Nextflow's trace, and what was left half-written. Functions only; included by several, so it
 * may not include others.
 */

/** Status and folder of each task of a trace, without a last line that is cut short. */
def tried(trace) {
    def lines = trace.exists() ? trace.readLines() : []
    if (!lines) return []
    def names = lines[0].split('\t').toList()
    def (status, folder) = [names.indexOf('status'), names.indexOf('workdir')]
    return lines.drop(1).collect { line -> line.split('\t') }.findAll { row -> row.size() == names.size() }
        .collect { row -> [status: row[status], folder: java.nio.file.Path.of(row[folder])] }
}

/** Delete what attempts that were killed outright left half-written. */
def sweep(trace) {
    tried(trace).findAll { one -> one.status in ['FAILED', 'ABORTED'] }.each { one -> delete_parts(one.folder.resolve('out').toFile()) }
}

/** Delete what is half-written in a folder: .<name>.part-* */
def delete_parts(folder) {
    def found = folder.listFiles() ?: []
    found.findAll { left -> left.name.startsWith('.') && left.name.contains('.part-') }.each { left -> left.deleteDir() || left.delete() }
}

/** End a trace with its last whole line: the disk may have been full. */
def end_whole(trace) {
    def text = trace.exists() ? trace.text : ''
    def whole = text.substring(0, text.lastIndexOf('\n') + 1)
    if (whole == text) return
    def open = new RandomAccessFile(trace.toFile(), 'rw')
    open.setLength(whole.bytes.length)
    open.close()
}

/**
 * Nextflow writes its two pages at the very end, in place: under a name of their own, which
 * they lose if they are whole.
 */
def keep_if_whole(page, target) {
    if (!page.exists()) return
    if (page.text.contains('</html>')) page.renameTo(target)
    else page.delete()
}
