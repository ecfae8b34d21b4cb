'use strict'

// @2captcha/captcha-solver: calls https://2captcha.com, so that entries in the hosts file lead it to pingbox.

const sdk = require('@2captcha/captcha-solver')
const { KEY, inBase64, page, solveAll, testProvider } = require('./sdk')
const { POLLING, cases, testRest } = require('./json_family')

const solver = new sdk.Solver(KEY, POLLING)

const text = (question, hints) => async () => (await solver.text({ textcaptcha: question, ...hints })).data

const grid = (parameters) => async () => (await solver.grid(parameters)).data
const rotate = (parameters) => async () => (await solver.rotate(parameters)).data

const keycaptcha = (user) => async () => {
  const { data } = await solver.keyCaptcha({
    userId: user, sessionId: `session-${user}`, webServerSign: 'sign', webServerSign2: 'sign2', pageurl: page(user)
  })
  return data
}

const keycaptchaSent = (user) => ({
  method: 'keycaptcha',
  s_s_c_user_id: user,
  s_s_c_session_id: `session-${user}`,
  s_s_c_web_server_sign: 'sign',
  s_s_c_web_server_sign2: 'sign2',
  pageurl: page(user)
})

solveAll([
  ...cases(solver),
  ['text', text('If tomorrow is Saturday, what day is today?'),
    { textcaptcha: 'If tomorrow is Saturday, what day is today?' }],
  ['text, signs of all kinds', text('What does a form have to encode?'),
    { textcaptcha: 'What does a form have to encode?' }],
  ['text, several parts', text('What comes in several parts?'), { textcaptcha: 'What comes in several parts?' }],
  ['text, cyrillic', text('Какого цвета снег?', { language: 1 }), { textcaptcha: 'Какого цвета снег?', language: '1' }],
  ['keycaptcha', keycaptcha('184015'), keycaptchaSent('184015')],
  ['keycaptcha, another user', keycaptcha('184016'), keycaptchaSent('184016')],
  ['grid', grid({ body: inBase64('grid-3x3-2-4-9.jpg'), rows: 3, cols: 3, textinstructions: 'stars' }),
    { images: ['grid-3x3-2-4-9.jpg'], recaptcha: '1', recaptcharows: '3', recaptchacols: '3' }],
  ['rotate, one image', rotate({ body: inBase64('rotate-2-turned-200.png'), angle: 40 }),
    { images: ['rotate-2-turned-200.png'], method: 'rotatecaptcha', angle: '40' }]
])
testRest(sdk, solver)
testProvider()
