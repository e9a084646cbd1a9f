# frozen_string_literal: true

# What Dalli 5 does with an ssl_context: one TLS connection, `version` first, then the meta protocol, never a login.
# The library itself is not needed; the context is made as in the dashboard's snippet.
#
# Environment: SERVER (host:port), CACHE_CLIENT_PEM (certificate and key), TRUST (the server's certificate).

require 'openssl'
require 'socket'

pem = ENV.fetch('CACHE_CLIENT_PEM')
tls = OpenSSL::SSL::SSLContext.new
tls.set_params(ca_file: ENV.fetch('TRUST'))
tls.cert = OpenSSL::X509::Certificate.new(pem)
tls.key = OpenSSL::PKey.read(pem)

host, port = ENV.fetch('SERVER').split(':')
cache = OpenSSL::SSL::SSLSocket.new(TCPSocket.new(host, port), tls)
cache.hostname = host
cache.sync_close = true
cache.connect
cache.post_connection_check(host)

def expect(cache, request, *answers)
  cache.write(request)
  answers.each do |answer|
    line = cache.gets
    raise "#{request.inspect}: #{line.inspect}" unless line && answer === line.chomp
  end
end

expect cache, "version\r\n", /\AVERSION /
expect cache, "ms by-ruby 5 c F0 T60\r\nhello\r\n", /\AHD c\d+\z/
expect cache, "mg by-ruby v f c\r\n", /\AVA 5 f0 c\d+\z/, 'hello'
expect cache, "mg nothing v q\r\nmn\r\n", 'MN'
cache.close
puts 'ok'
