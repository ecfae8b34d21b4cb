'use strict'

// 2captcha-ts: calls https://2captcha.com, so that entries in the hosts file lead it to pingbox.

const sdk = require('2captcha-ts')
const { KEY, solveAll, testProvider } = require('./sdk')
const { POLLING, cases, testRest } = require('./json_family')

const solver = new sdk.Solver(KEY, POLLING)

solveAll(cases(solver))
testRest(sdk, solver)
testProvider()
