/*
 * A new method is an include and a call here: Nextflow resolves both by name before the run,
 * so neither can come from a list. Order does not matter, jobs start by their files.
 */
include { CORRECT as MERGE } from './filter'
include { CORRECT as PERCENTILE } from './filter'
include { CORRECT as GAMMA } from './filter'
include { CORRECT as USER } from './filter'
include { CORRECT as MODEL_MAP } from './filter'
include { CORRECT as CORRELATION } from './filter'
include { CORRECT as FLATFIELD; CORRECT as FLATFIELD_ESTIMATE } from './filter'
include { ESTIMATE as FLATFIELD_FIT } from './estimate'
include { CORRECT as ROLLING_BALL } from './filter'
include { CORRECT as TILED_MEDIAN } from './filter'
include { CORRECT as BLEACH; CORRECT as BLEACH_FIT } from './filter'
include { CORRECT as REGISTER; CORRECT as REGISTER_REGISTER } from './filter'
include { CORRECT as REGISTER_CHAIN } from './filter'
include { CORRECT as REGISTER_DENOISE; CORRECT as REGISTER_DENOISE_REGISTER } from './filter'
include { CORRECT as REGISTER_DENOISE_CHAIN } from './filter'
include { CORRECT as REGISTER_DENOISE_ALIGN } from './filter'
include { CORRECT as TRANSFORM } from './filter'
include { CORRECT as DENOISE } from './filter'

workflow PREPROCESSING {
    take:
    tasks // Map: tool -> channel of [job, [path]]

    main:
    if (tasks.MERGE) MERGE(tasks.remove('MERGE'))
    if (tasks.PERCENTILE) PERCENTILE(tasks.remove('PERCENTILE'))
    if (tasks.GAMMA) GAMMA(tasks.remove('GAMMA'))
    if (tasks.USER) USER(tasks.remove('USER'))
    if (tasks.MODEL_MAP) MODEL_MAP(tasks.remove('MODEL_MAP'))
    if (tasks.CORRELATION) CORRELATION(tasks.remove('CORRELATION'))
    if (tasks.FLATFIELD_ESTIMATE) FLATFIELD_ESTIMATE(tasks.remove('FLATFIELD_ESTIMATE'))
    if (tasks.FLATFIELD_FIT) FLATFIELD_FIT(tasks.remove('FLATFIELD_FIT'))
    if (tasks.FLATFIELD) FLATFIELD(tasks.remove('FLATFIELD'))
    if (tasks.ROLLING_BALL) ROLLING_BALL(tasks.remove('ROLLING_BALL'))
    if (tasks.TILED_MEDIAN) TILED_MEDIAN(tasks.remove('TILED_MEDIAN'))
    if (tasks.BLEACH_FIT) BLEACH_FIT(tasks.remove('BLEACH_FIT'))
    if (tasks.BLEACH) BLEACH(tasks.remove('BLEACH'))
    if (tasks.REGISTER_REGISTER) REGISTER_REGISTER(tasks.remove('REGISTER_REGISTER'))
    if (tasks.REGISTER_CHAIN) REGISTER_CHAIN(tasks.remove('REGISTER_CHAIN'))
    if (tasks.REGISTER) REGISTER(tasks.remove('REGISTER'))
    if (tasks.REGISTER_DENOISE_REGISTER) REGISTER_DENOISE_REGISTER(tasks.remove('REGISTER_DENOISE_REGISTER'))
    if (tasks.REGISTER_DENOISE_CHAIN) REGISTER_DENOISE_CHAIN(tasks.remove('REGISTER_DENOISE_CHAIN'))
    if (tasks.REGISTER_DENOISE_ALIGN) REGISTER_DENOISE_ALIGN(tasks.remove('REGISTER_DENOISE_ALIGN'))
    if (tasks.REGISTER_DENOISE) REGISTER_DENOISE(tasks.remove('REGISTER_DENOISE'))
    if (tasks.TRANSFORM) TRANSFORM(tasks.remove('TRANSFORM'))
    if (tasks.DENOISE) DENOISE(tasks.remove('DENOISE'))
}
