'use strict'

// What the tests of the Node SDKs share: cases that are solved all at once, and what the provider saw of them.
// `tests/sdk/run` starts pingbox and an emulated provider for each suite, and says in the environment where they are.

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const { test } = require('node:test')
const { setTimeout: sleep } = require('node:timers/promises')

/** The token of pingbox that an SDK takes for its API key. */
const KEY = process.env.SDK_KEY
/** The longest that one solve may take, in milliseconds. */
const LIMIT = 60_000
/** The answers that are known beforehand, by the SHA-256 of the image or of the question. */
const ANSWERS = JSON.parse(fs.readFileSync(process.env.SDK_ANSWERS))

const SITE_KEY = '6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-'
const PUBLIC_KEY = '69A21A01-CC43-44CC-A7DC-3E088835E78D'

/** Captchas that the provider must have taken. */
let submitted = 0

const pathOf = (image) => path.join(process.env.SDK_DATA, image)
const content = (image) => fs.readFileSync(pathOf(image))
const inBase64 = (image) => content(image).toString('base64')
/** A page URL that no other case has, with what must be encoded in it. */
const page = (name) => `https://example.com/${name}?a=1&b=x+y%20z#top`

/** Asks one of the emulated providers. Not with the client that the SDKs use. */
function ask (url, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: body === undefined ? 'GET' : 'POST', timeout: 10_000 }, (reply) => {
      const pieces = []
      reply.on('data', (piece) => pieces.push(piece))
      reply.on('end', () => resolve(Buffer.concat(pieces).toString()))
      reply.on('error', reject)
    })
    request.on('timeout', () => request.destroy(new Error(`${url} does not answer`)))
    request.on('error', reject)
    request.end(body)
  })
}

/** The control endpoint of the provider that pingbox calls. */
const provider = {
  async call (path, body) {
    return JSON.parse(await ask(process.env.SDK_PROVIDER + path, body && JSON.stringify(body)))
  },

  overview () {
    return this.call('/sandbox')
  },

  /** The parameters of all requests to `in.php` or `res.php`, oldest first. */
  async requests (script) {
    const { requests } = await this.call('/sandbox/requests')
    return requests.filter(({ path }) => path === `/${script}`).map(({ parameters }) => parameters)
  },

  /** Turns knobs while `run` runs. */
  async withKnobs (turned, run) {
    const { knobs } = await this.overview()
    await this.call('/sandbox', turned)
    try {
      return await run()
    } finally {
      await this.call('/sandbox', Object.fromEntries(Object.keys(turned).map((name) => [name, knobs[name]])))
    }
  },

  /** A counter, once it is as wanted, or as it stands after 15 seconds. */
  async count (counter, wanted) {
    for (let tries = 0; ; tries++) {
      const found = (await this.overview()).counters[counter]
      if (found === wanted || tries === 150) return found
      await sleep(100)
    }
  }
}

const digest = (of) => crypto.createHash('sha256').update(of).digest('hex')

/** Whether a request to the provider is the one for a case. */
function isSent (parameters, { images = [], ...wanted }) {
  const files = Object.values(parameters).filter((value) => typeof value === 'object').map(({ sha256 }) => sha256)
  const own = images.map((image) => digest(content(image)))
  return files.join() === own.join() && Object.entries(wanted).every(([name, value]) => parameters[name] === value)
}

/** The answer that belongs to a request to the provider. */
async function expected (parameters, sent) {
  if (sent.images) return ANSWERS[digest(content(sent.images[0]))]
  if (sent.textcaptcha) return ANSWERS[digest(sent.textcaptcha)]
  return oracle(parameters)
}

/**
 * What an emulated provider answers to these parameters: the answer depends on nothing else, so that another one tells
 * it, too.
 */
async function oracle ({ pingback, json, ...parameters }) {
  const { SDK_ORACLE: url, SDK_ORACLE_KEY: key } = process.env
  const call = (script, form) => ask(`${url}/${script}`, String(new URLSearchParams({ key, ...form })))
  const reply = await call('in.php', parameters)
  assert.match(reply, /^OK\|/, `the oracle refuses ${JSON.stringify(parameters)}`)
  for (let tries = 0; tries < 50; tries++) {
    const answer = await call('res.php', { action: 'get', id: reply.slice(3) })
    if (answer !== 'CAPCHA_NOT_READY') return answer.slice(3)
    await sleep(100)
  }
  throw new Error('the oracle does not answer')
}

/** The answer is the one to the captcha of which `sent` reached the provider, in one request. */
async function assertSolved (sent, answer, cut = (whole) => whole) {
  submitted++
  const received = await provider.requests('in.php')
  const own = received.filter((parameters) => isSent(parameters, sent))
  assert.equal(own.length, 1, `requests with ${JSON.stringify(sent)} among ${JSON.stringify(received)}`)
  assert.equal(answer, cut(await expected(own[0], sent)))
}

/** The captcha that `solve` submits is taken, and nobody can solve it. */
function unsolvable (solve) {
  submitted++
  return provider.withKnobs({ unsolvable: 1 }, solve)
}

/**
 * Solves all cases at the same time, and tests each. A case is its name, a function that has it solved and resolves to
 * the answer, and what of it must have reached the provider, in exactly one request: `images`, the names of all files,
 * and parameters by name. `cut` is what the SDK itself takes off every answer.
 */
function solveAll (cases, cut) {
  const solving = cases.map(([, solve]) => Promise.resolve().then(solve))
  for (const promise of solving) promise.catch(() => {}) // its test tells
  cases.forEach(([name, , sent], index) => {
    test(`solved: ${name}`, { timeout: LIMIT }, async () => assertSolved(sent, await solving[index], cut))
  })
}

/** What the provider saw of pingbox, in the end. */
function testProvider () {
  test('no captcha was submitted twice', async () => {
    const { requests, counters } = await provider.overview()
    assert.equal(requests.captchas, submitted)
    assert.equal(counters.sent_twice, 0)
  })
  test('every answer came by pingback', async () => {
    assert.equal(await provider.count('pingbacks_delivered', submitted), submitted)
    assert.equal((await provider.overview()).counters.pingbacks_refused, 0)
    const asked = (await provider.requests('res.php')).filter(({ action }) => ['get', 'get2'].includes(action))
    assert.deepEqual(asked, [])
  })
  test('no rule of the provider was broken', async () => {
    assert.deepEqual((await provider.overview()).broken_rules, [])
  })
}

module.exports = {
  KEY, SITE_KEY, PUBLIC_KEY, assertSolved, content, inBase64, page, pathOf, provider, solveAll, testProvider, unsolvable
}
