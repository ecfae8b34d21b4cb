'use strict'

// What 2captcha-ts and @2captcha/captcha-solver have in common: the same methods, which take objects.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { KEY, SITE_KEY, PUBLIC_KEY, assertSolved, content, inBase64, page, provider, unsolvable } = require('./sdk')

/** Polls soon, and often: the first wait is before the first question. */
const POLLING = 300

const recaptchaSent = (name) => ({ method: 'userrecaptcha', googlekey: SITE_KEY, pageurl: page(name) })
const funcaptchaSent = (name) => ({ method: 'funcaptcha', publickey: PUBLIC_KEY, pageurl: page(name) })

function cases (solver) {
  const solved = async (promise) => (await promise).data
  const image = (name, hints) => () => solved(solver.imageCaptcha({ body: inBase64(name), ...hints }))
  const recaptcha = (name, options) => () =>
    solved(solver.recaptcha({ googlekey: SITE_KEY, pageurl: page(name), ...options }))
  const funcaptcha = (name) => () => solved(solver.funCaptcha({ publickey: PUBLIC_KEY, pageurl: page(name) }))
  const click = (parameters) => () => solved(solver.coordinates(parameters))
  return [
    ['image, png', image('captcha-01-x7k2p.png'), { images: ['captcha-01-x7k2p.png'] }],
    ['image, jpg with hints', image('captcha-06-p9fs3.jpg', { numeric: 4, min_len: 5, regsense: 1 }),
      { images: ['captcha-06-p9fs3.jpg'], numeric: '4', min_len: '5', regsense: '1' }],
    ['image, gif as a data URL',
      () => solved(solver.imageCaptcha({ body: `data:image/gif;base64,${inBase64('captcha-10-n8wcu.gif')}` })),
      { images: ['captcha-10-n8wcu.gif'] }],
    ['recaptcha_v2', recaptcha('recaptcha-1'), recaptchaSent('recaptcha-1')],
    ['recaptcha_v2, another page', recaptcha('recaptcha-2'), recaptchaSent('recaptcha-2')],
    ['recaptcha_v2, invisible', recaptcha('recaptcha-3', { invisible: 1 }),
      { ...recaptchaSent('recaptcha-3'), invisible: '1' }],
    ['funcaptcha', funcaptcha('fun-1'), funcaptchaSent('fun-1')],
    ['funcaptcha, another page', funcaptcha('fun-2'), funcaptchaSent('fun-2')],
    ['click', click({ body: inBase64('click-39-36-192-72.png'), textinstructions: 'all stars, + & =' }),
      { images: ['click-39-36-192-72.png'], coordinatescaptcha: '1', textinstructions: 'all stars, + & =' }]
  ]
}

function testRest ({ Solver, APIError }, solver) {
  const fails = (code, solve) => assert.rejects(solve, (error) => {
    assert.ok(error instanceof APIError, String(error))
    assert.equal(error.err, code)
    return true
  })

  test('a slow captcha is waited for', async () => {
    const { data } = await provider.withKnobs({ delay_ms: 5000, delay_spread_ms: 0 }, () =>
      solver.recaptcha({ googlekey: SITE_KEY, pageurl: page('slow') }))
    await assertSolved(recaptchaSent('slow'), data)
  })

  test('balance', async () => {
    const balance = await solver.balance()
    assert.ok(balance > 900 && balance < 1000, balance)
  })

  test('a bad answer is reported once, and again is no error', async () => {
    const { id, data } = await solver.imageCaptcha({ body: inBase64('captcha-11-6ehta.gif') })
    await assertSolved({ images: ['captcha-11-6ehta.gif'] }, data)
    assert.equal(await solver.badReport(id), 'OK_REPORT_RECORDED')
    assert.equal(await provider.count('reported_bad', 1), 1)
    assert.equal(await solver.badReport(id), 'ERROR_DUPLICATE_REPORT')
  })

  test('a good answer is reported', async () => {
    const { id, data } = await solver.imageCaptcha({ body: inBase64('captcha-12-plum42.gif') })
    await assertSolved({ images: ['captcha-12-plum42.gif'] }, data)
    assert.equal(await solver.goodReport(id), 'OK_REPORT_RECORDED')
    assert.equal(await provider.count('reported_good', 1), 1)
  })

  test('an unsolvable captcha fails', () => unsolvable(() =>
    fails('ERROR_CAPTCHA_UNSOLVABLE', () => solver.imageCaptcha({ body: inBase64('captcha-03-qwnrt.png') }))))

  for (const [key, code] of [['f'.repeat(32), 'ERROR_KEY_DOES_NOT_EXIST'], ['short', 'ERROR_WRONG_USER_KEY']]) {
    test(`a wrong key fails: ${code}`, async () => {
      const wrong = new Solver(key, POLLING)
      await fails(code, () => wrong.recaptcha({ googlekey: SITE_KEY, pageurl: page('wrong-key') }))
      await fails(code, () => wrong.imageCaptcha({ body: inBase64('captcha-01-x7k2p.png') }))
      // Here the SDK takes the whole reply for the code.
      await assert.rejects(() => wrong.balance(), ({ err }) => JSON.parse(err).request === code)
    })
  }

  for (const [body, code] of [
    [Buffer.alloc(60, 'x'), 'ERROR_ZERO_CAPTCHA_FILESIZE'],
    [Buffer.alloc(300, 'x'), 'ERROR_IMAGE_TYPE_NOT_SUPPORTED'],
    [Buffer.concat([content('captcha-01-x7k2p.png'), Buffer.alloc(100 * 1024)]), 'ERROR_TOO_BIG_CAPTCHA_FILESIZE']
  ]) {
    test(`a bad image fails: ${code}`, () => fails(code, () => solver.imageCaptcha({ body: body.toString('base64') })))
  }

  test('a missing page URL fails', () =>
    fails('ERROR_PAGEURL', () => solver.recaptcha({ googlekey: SITE_KEY, pageurl: 'example.com' })))
}

module.exports = { KEY, POLLING, cases, testRest }
