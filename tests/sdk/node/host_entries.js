'use strict'

// Sends this process to pingbox when it connects to port 443 of a host whose name SDKs have written into them: what
// entries in the hosts file do, and a redirection of the port. Loaded with `node --require`, before any package.

const tls = require('node:tls')

const HOSTS = ['2captcha.com', 'rucaptcha.com']
const [host, port] = process.env.SDK_API.split(':')
const connect = tls.connect

tls.connect = function (...parameters) {
  const options = parameters[0]
  if (HOSTS.includes(options?.host) && Number(options.port) === 443) {
    // The name that the certificate must have stays what it was.
    parameters[0] = { ...options, host, port, servername: options.servername ?? options.host }
  }
  return connect.apply(this, parameters)
}
