'use strict'

// rucaptcha-2captcha: calls https://rucaptcha.com or https://2captcha.com, so that entries in the hosts file lead it to
// pingbox. It waits 5 seconds before it asks for an image or a text, 20 for anything else, and keeps only what stands
// before the first `|` of an answer.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const RuCaptcha2Captcha = require('rucaptcha-2captcha')
const {
  KEY, SITE_KEY, PUBLIC_KEY, assertSolved, content, inBase64, page, pathOf, provider, solveAll, testProvider, unsolvable
} = require('./sdk')

const solver = new RuCaptcha2Captcha(KEY)
const of2Captcha = new RuCaptcha2Captcha(KEY, 2)
const firstPart = (answer) => answer.split('|')[0]

const solve = (parameters, by = solver) => async () => (await by.solve(parameters)).token
const text = (question, hints) => solve({ textcaptcha: question, ...hints })
const recaptchaSent = (name) => ({ method: 'userrecaptcha', googlekey: SITE_KEY, pageurl: page(name) })
const funcaptchaSent = (name) => ({ method: 'funcaptcha', publickey: PUBLIC_KEY, pageurl: page(name) })
const KEYCAPTCHA = {
  method: 'keycaptcha',
  s_s_c_user_id: '184015',
  s_s_c_session_id: 'session',
  s_s_c_web_server_sign: 'sign',
  s_s_c_web_server_sign2: 'sign2',
  pageurl: page('key')
}

// Reported on below, once they are solved: none is solved sooner than the others here.
const reported = Promise.all(['captcha-11-6ehta.gif', 'captcha-12-plum42.gif'].map((image) =>
  solver.solve({ url: pathOf(image) })))
const priced = solver.send({ url: pathOf('captcha-02-84613.png') }).then((id) => solver.getWithPrice(id))
const several = Promise.all(['captcha-04-m3hd9e.png', 'captcha-05-ab4yg.png', 'captcha-08-27095.jpg'].map((image) =>
  solver.send({ url: pathOf(image) }))).then((ids) => solver.get(ids))
for (const promise of [reported, priced, several]) promise.catch(() => {}) // its test tells

solveAll([
  ['image, png file', solve({ url: pathOf('captcha-01-x7k2p.png') }), { images: ['captcha-01-x7k2p.png'] }],
  ['image, jpg file with hints', solve({ url: pathOf('captcha-06-p9fs3.jpg'), numeric: 4, min_len: 5, regsense: 1 }),
    { images: ['captcha-06-p9fs3.jpg'], numeric: '4', min_len: '5', regsense: '1' }],
  ['image, gif in base64', solve({ method: 'base64', body: inBase64('captcha-10-n8wcu.gif') }),
    { images: ['captcha-10-n8wcu.gif'] }],
  ['image, by the other host', solve({ url: pathOf('captcha-07-kettle.jpg') }, of2Captcha),
    { images: ['captcha-07-kettle.jpg'] }],
  ['text', text('If tomorrow is Saturday, what day is today?'),
    { textcaptcha: 'If tomorrow is Saturday, what day is today?' }],
  ['text, signs of all kinds', text('What does a form have to encode?'),
    { textcaptcha: 'What does a form have to encode?' }],
  ['text, several parts', text('What comes in several parts?'), { textcaptcha: 'What comes in several parts?' }],
  ['text, cyrillic', text('Какого цвета снег?', { language: 1 }), { textcaptcha: 'Какого цвета снег?', language: '1' }],
  ['recaptcha_v2', solve(recaptchaSent('recaptcha-1')), recaptchaSent('recaptcha-1')],
  ['recaptcha_v2, another page', solve({ ...recaptchaSent('recaptcha-2'), invisible: 1 }),
    { ...recaptchaSent('recaptcha-2'), invisible: '1' }],
  ['funcaptcha', solve(funcaptchaSent('fun-1')), funcaptchaSent('fun-1')],
  ['funcaptcha, another page', solve(funcaptchaSent('fun-2')), funcaptchaSent('fun-2')],
  ['keycaptcha', solve(KEYCAPTCHA), KEYCAPTCHA],
  ['click', solve({ url: pathOf('click-39-36-192-72.png'), coordinatescaptcha: 1, textinstructions: 'all stars' }),
    { images: ['click-39-36-192-72.png'], coordinatescaptcha: '1', textinstructions: 'all stars' }],
  ['rotate, one image', solve({ method: 'rotatecaptcha', body: inBase64('rotate-2-turned-200.png'), angle: 40 }),
    { images: ['rotate-2-turned-200.png'], method: 'rotatecaptcha', angle: '40' }]
], firstPart)

test('several answers are fetched at once', async () => {
  const [first, second, third] = await several
  await assertSolved({ images: ['captcha-04-m3hd9e.png'] }, first)
  await assertSolved({ images: ['captcha-05-ab4yg.png'] }, second)
  await assertSolved({ images: ['captcha-08-27095.jpg'] }, third)
})

test('an answer is fetched with its price', async () => {
  const { token, price } = await priced
  await assertSolved({ images: ['captcha-02-84613.png'] }, token)
  assert.ok(Number(price) > 0, price)
})

test('a bad and a good answer are reported, once', async () => {
  const [bad, good] = await reported
  await assertSolved({ images: ['captcha-11-6ehta.gif'] }, bad.token)
  await assertSolved({ images: ['captcha-12-plum42.gif'] }, good.token)
  assert.equal((await bad.tokenIsBad()).request, 'OK_REPORT_RECORDED')
  assert.equal((await good.tokenIsGood()).request, 'OK_REPORT_RECORDED')
  assert.equal(await provider.count('reported_bad', 1), 1)
  assert.equal(await provider.count('reported_good', 1), 1)
  assert.equal((await bad.tokenIsBad()).request, 'ERROR_DUPLICATE_REPORT')
})

test('balance', async () => {
  const balance = await solver.getBalance()
  assert.ok(balance > 900 && balance < 1000, balance)
})

const fails = (code, run) => assert.rejects(run, (error) => {
  assert.equal(error.name, code)
  assert.ok(error.message.length > 0)
  return true
})

test('an unsolvable captcha fails', () =>
  unsolvable(() => fails('ERROR_CAPTCHA_UNSOLVABLE', solve({ url: pathOf('captcha-03-qwnrt.png') }))))

for (const [key, code] of [['f'.repeat(32), 'ERROR_KEY_DOES_NOT_EXIST'], ['short', 'ERROR_WRONG_USER_KEY']]) {
  test(`a wrong key fails: ${code}`, async () => {
    const wrong = new RuCaptcha2Captcha(key)
    await fails(code, () => wrong.send({ textcaptcha: 'Is this key right?' }))
    assert.equal(await wrong.getBalance(), code)
  })
}

for (const [body, code] of [
  [Buffer.alloc(60, 'x'), 'ERROR_ZERO_CAPTCHA_FILESIZE'],
  [Buffer.alloc(300, 'x'), 'ERROR_IMAGE_TYPE_NOT_SUPPORTED'],
  [Buffer.concat([content('captcha-01-x7k2p.png'), Buffer.alloc(100 * 1024)]), 'ERROR_TOO_BIG_CAPTCHA_FILESIZE']
]) {
  test(`a bad image fails: ${code}`, () =>
    fails(code, () => solver.send({ method: 'base64', body: body.toString('base64') })))
}

test('a missing page URL fails', () =>
  fails('ERROR_PAGEURL', () => solver.send({ ...recaptchaSent('none'), pageurl: 'example.com' })))

test('an unknown id fails', async () => {
  await fails('ERROR_WRONG_CAPTCHA_ID', () => solver.get('9007199254740991'))
  await fails('ERROR_WRONG_ID_FORMAT', () => solver.get('abc'))
})

testProvider()
