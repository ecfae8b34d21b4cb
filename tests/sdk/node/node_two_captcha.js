'use strict'

// @infosimples/node_two_captcha: calls https://2captcha.com, so that entries in the hosts file lead it to pingbox. It
// keeps only what stands between the first and the second `|` of a reply.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const Client = require('@infosimples/node_two_captcha')
const {
  KEY, SITE_KEY, assertSolved, content, inBase64, page, pathOf, provider, solveAll, testProvider, unsolvable
} = require('./sdk')

const OPTIONS = { timeout: 60_000, polling: 300, throwErrors: true }
const client = new Client(KEY, OPTIONS)

const decode = (options) => async () => (await client.decode(options)).text
const recaptcha = (name, options) => async () =>
  (await client.decodeRecaptchaV2({ googlekey: SITE_KEY, pageurl: page(name), ...options })).text
const recaptchaSent = (name, invisible) => ({
  method: 'userrecaptcha', googlekey: SITE_KEY, pageurl: page(name), invisible
})

solveAll([
  ['image, png file', decode({ path: pathOf('captcha-01-x7k2p.png') }), { images: ['captcha-01-x7k2p.png'] }],
  ['image, jpg with hints', decode({ buffer: content('captcha-06-p9fs3.jpg'), numeric: 4, textinstructions: '+ & =' }),
    { images: ['captcha-06-p9fs3.jpg'], numeric: '4', textinstructions: '+ & =' }],
  ['image, gif in base64', decode({ base64: inBase64('captcha-10-n8wcu.gif') }), { images: ['captcha-10-n8wcu.gif'] }],
  ['recaptcha_v2', recaptcha('recaptcha-1'), recaptchaSent('recaptcha-1', '0')],
  ['recaptcha_v2, another page', recaptcha('recaptcha-2'), recaptchaSent('recaptcha-2', '0')],
  ['recaptcha_v2, invisible', recaptcha('recaptcha-3', { invisible: true }), recaptchaSent('recaptcha-3', '1')],
  ['click', decode({ path: pathOf('click-39-36-192-72.png'), coordinatescaptcha: 1, textinstructions: 'all stars' }),
    { images: ['click-39-36-192-72.png'], coordinatescaptcha: '1', textinstructions: 'all stars' }]
])

// It turns codes into sentences.
const fails = (sentence, solve) => assert.rejects(solve, { message: sentence })

test('a slow captcha is waited for', async () => {
  const answer = await provider.withKnobs({ delay_ms: 5000, delay_spread_ms: 0 }, recaptcha('slow'))
  await assertSolved(recaptchaSent('slow', '0'), answer)
})

test('balance', async () => {
  const balance = await client.balance()
  assert.ok(balance > 900 && balance < 1000, balance)
})

test('a bad answer is reported once', async () => {
  const { id, text } = await client.decode({ path: pathOf('captcha-11-6ehta.gif') })
  await assertSolved({ images: ['captcha-11-6ehta.gif'] }, text)
  assert.equal(await client.report(id), true)
  assert.equal(await provider.count('reported_bad', 1), 1)
  await fails('Unknown 2Captcha error: ERROR_DUPLICATE_REPORT', () => client.report(id))
})

test('a good answer is reported', async () => {
  const { id, text } = await client.decode({ path: pathOf('captcha-12-plum42.gif') })
  await assertSolved({ images: ['captcha-12-plum42.gif'] }, text)
  assert.equal(await client.report(id, false), true)
  assert.equal(await provider.count('reported_good', 1), 1)
})

test('an unsolvable captcha fails', () => unsolvable(() =>
  assert.rejects(decode({ path: pathOf('captcha-03-qwnrt.png') }), /three of our workers were unable/)))

test('a wrong key fails', async () => {
  const wrong = new Client('f'.repeat(32), OPTIONS)
  await fails("The key you've provided does not exists.", () => wrong.decode({ path: pathOf('captcha-01-x7k2p.png') }))
  await fails("The key you've provided does not exists.", () => wrong.balance())
  const short = new Client('short', OPTIONS)
  await assert.rejects(() => short.balance(), /it should contain 32 symbols/)
})

test('a bad image fails', async () => {
  for (const [body, sentence] of [
    [Buffer.alloc(60, 'x'), 'Image size is less than 100 bytes.'],
    [Buffer.alloc(300, 'x'), "Server can't recognize image file type."],
    [Buffer.concat([content('captcha-01-x7k2p.png'), Buffer.alloc(100 * 1024)]), 'Image size is more than 100 kB.']
  ]) {
    await fails(sentence, () => client.decode({ buffer: body }))
  }
})

test('a missing page URL fails', () =>
  assert.rejects(() => client.decodeRecaptchaV2({ googlekey: SITE_KEY, pageurl: 'example.com' }), /^Error: pageurl/))

test('an unknown id fails', async () => {
  await fails("You've provided incorrect captcha ID.", () => client.captcha('9007199254740991'))
  // What it asks for, again and again, when in.php refuses a captcha and `throwErrors` is off.
  await assert.rejects(() => client.captcha(undefined), /in wrong format/)
})

testProvider()
