/*
 * Results into the output folder, by a program beside the run (bin/cytoloom/publishing.py): whole
 * or not at all, in the place of what an earlier run left there, and a full disk is told. Nextflow
 * itself would keep what lies in the place of a result that it takes from its cache. Functions only;
 * included by several, so it may not include others.
 */

/** Hand a file over, if it is a result. */
def publish_result(path) {
    def place = System.properties['cytoloom.places'][path.name]
    if (place) publish(path, place)
}

def publish(path, place) {
    try {
        def pipe = System.properties['cytoloom.publisher'].outputWriter()
        pipe.write(groovy.json.JsonOutput.toJson([path.toString(), place]) + '\n')
        pipe.flush()
    }
    catch (IOException _e) {
        // It has ended, and says why.
    }
}
