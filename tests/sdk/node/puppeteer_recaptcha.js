'use strict'

// puppeteer-extra-plugin-recaptcha: calls https://2captcha.com, so that entries in the hosts file lead it to pingbox.
// Its part for the provider runs without a browser. It asks every 2 seconds, also while earlier questions are open.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { getSolutions } = require('puppeteer-extra-plugin-recaptcha/dist/provider/2captcha')
const { KEY, SITE_KEY, assertSolved, page, provider, solveAll, testProvider, unsolvable } = require('./sdk')

const found = (name, more) => ({ _vendor: 'recaptcha', id: name, sitekey: SITE_KEY, url: page(name), ...more })
const sent = (name, more) => ({ method: 'userrecaptcha', googlekey: SITE_KEY, pageurl: page(name), ...more })

async function solve (captcha, key = KEY) {
  const { solutions: [solution], error } = await getSolutions([captcha], key)
  if (error) throw new Error(error.error)
  assert.equal(solution.id, captcha.id)
  return solution.text
}

solveAll([
  ['recaptcha_v2', () => solve(found('recaptcha-1')), sent('recaptcha-1')],
  ['recaptcha_v2, another page', () => solve(found('recaptcha-2')), sent('recaptcha-2')],
  ['recaptcha_v2 with data-s', () => solve(found('recaptcha-3', { s: 'a+b/c= &d' })),
    sent('recaptcha-3', { 'data-s': 'a+b/c= &d' })],
  ['recaptcha_v2 with an action', () => solve(found('recaptcha-4', { action: 'log in' })),
    sent('recaptcha-4', { action: 'log in' })]
])

test('several captchas of a page are solved', async () => {
  const names = ['several-1', 'several-2', 'several-3', 'several-4']
  const { solutions } = await getSolutions(names.map((name) => found(name)), KEY)
  for (const [index, name] of names.entries()) await assertSolved(sent(name), solutions[index].text)
})

test('a slow captcha is waited for with overlapping requests', async () => {
  const answer = await provider.withKnobs({ delay_ms: 6000, delay_spread_ms: 0 }, () => solve(found('slow')))
  await assertSolved(sent('slow'), answer)
})

test('an unsolvable captcha fails', () =>
  unsolvable(() => assert.rejects(solve(found('unsolvable')), { message: /ERROR_CAPTCHA_UNSOLVABLE$/ })))

test('a wrong key fails', async () => {
  await assert.rejects(solve(found('wrong-key'), 'f'.repeat(32)), { message: /ERROR_KEY_DOES_NOT_EXIST$/ })
  await assert.rejects(solve(found('wrong-key'), 'short'), { message: /ERROR_WRONG_USER_KEY$/ })
})

test('a missing page URL fails', () =>
  assert.rejects(solve({ ...found('none'), url: 'example.com' }), { message: /ERROR_PAGEURL$/ }))

testProvider()
