# frozen_string_literal: true

# Dalli: 3.x with the binary protocol and SASL; 5.x, which speaks the meta protocol alone and cannot log in, on the
# open listener. The common list is in ../checks.md.

require 'logger'
require 'securerandom'
require 'dalli'

Dalli.logger = Logger.new($stderr)
Dalli.logger.level = Logger::ERROR
$stdout.sync = true

MIB = 1024 * 1024
BINARY = ((0..255).map(&:chr).join + "\r\nEND\r\n\0VALUE x 0 1\r\n").b.freeze
TEXT = 'Grüße, 缓存, κρυφή μνήμη, 🧺'
LOGIN = Dalli::VERSION.start_with?('3.')
RAW = { raw: true }.freeze

# The library has no call for this.
class Cannot < StandardError; end

def connect(credential, password = nil)
  # The library's own limit is raised, so that the server is the one to refuse what is too large.
  options = { value_max_bytes: 8 * MIB, socket_timeout: 10, down_retry_delay: 1, compress: false }
  return Dalli::Client.new(ENV.fetch('OPEN_SERVER'), options) unless LOGIN

  prefix = { full: 'MEMCACHIER', read_only: 'READONLY', no_flush: 'NOFLUSH', promoted: 'PROMOTED' }.fetch(credential)
  options[:username] = ENV.fetch("#{prefix}_USERNAME")
  options[:password] = password || ENV.fetch("#{prefix}_PASSWORD")
  Dalli::Client.new(ENV.fetch('MEMCACHIER_SERVERS'), options)
end

def same(seen, wanted)
  raise "expected #{wanted.inspect[0, 80]}, got #{seen.inspect[0, 80]}" unless seen == wanted
end

def stored(answer)
  raise "not stored: #{answer.inspect}" unless answer
end

def until_gone(client, key)
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 15
  until client.get(key).nil?
    raise "#{key} did not expire" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

    sleep 0.05
  end
end

# A round trip through the same client, so that what went before has not broken it or put it out of step.
def usable(client)
  stored client.set('usable', 'yes')
  same client.get('usable'), 'yes'
end

def wait_for_the_test(what)
  puts "waiting #{what}"
  raise 'the test went away' unless $stdin.gets
end

def needs_login
  raise Cannot, 'version 5 has no login' unless LOGIN
end

CHECKS = {
  'set-get' => lambda { |main|
    same main.get('set-get'), nil
    stored main.set('set-get', 'first')
    same main.get('set-get'), 'first'
    stored main.set('set-get', '', nil, RAW)
    same main.get('set-get', RAW), ''
  },
  'multi-set-get' => lambda { |main|
    items = (0...100).to_h { |number| ["multi-#{number}", "value #{number}"] }
    if main.respond_to?(:set_multi)
      main.set_multi(items)
    else
      main.multi { items.each { |key, value| main.set(key, value) } }
    end
    same main.get_multi(*items.keys, 'multi-none'), items
  },
  'add' => lambda { |main|
    stored main.add('add', 'first')
    same main.add('add', 'second'), false
    same main.get('add'), 'first'
  },
  'replace' => lambda { |main|
    # Version 3 answers 0 here, which Ruby takes for true; the item tells.
    main.replace('replace', 'none')
    same main.get('replace'), nil
    main.set('replace', 'old')
    stored main.replace('replace', 'new')
    same main.get('replace'), 'new'
  },
  'append' => lambda { |main|
    same main.append('append-none', 'x'), false
    main.set('append', 'head', nil, RAW)
    stored main.append('append', '-tail')
    same main.get('append', RAW), 'head-tail'
  },
  'prepend' => lambda { |main|
    same main.prepend('prepend-none', 'x'), false
    main.set('prepend', 'tail', nil, RAW)
    stored main.prepend('prepend', 'head-')
    same main.get('prepend', RAW), 'head-tail'
  },
  'incr' => lambda { |main|
    main.set('incr', '10', nil, RAW)
    same main.incr('incr', 5), 15
    same main.get('incr', RAW), '15'
    same main.incr('incr-new', 5, 100, 7), 7
  },
  'decr' => lambda { |main|
    main.set('decr', '15', nil, RAW)
    same main.decr('decr', 6), 9
    same main.decr('decr', 100), 0
    same main.get('decr', RAW).strip, '0'
  },
  'cas' => lambda { |main|
    main.set('cas', 'old')
    value, cas_value = main.get_cas('cas')
    same value, 'old'
    stored main.set_cas('cas', 'new', cas_value)
    same main.set_cas('cas', 'late', cas_value), false
    same main.get('cas'), 'new'
  },
  'touch' => lambda { |main|
    main.set('touch', 'kept', 1)
    main.set('touch-control', 'goes', 1)
    stored main.touch('touch', 100)
    until_gone(main, 'touch-control')
    same main.get('touch'), 'kept'
    same main.touch('touch-none', 100), nil
  },
  'delete' => lambda { |main|
    main.set('delete', 'x')
    stored main.delete('delete')
    same main.get('delete'), nil
  },
  'expiry' => lambda { |main|
    main.set('expiry-long', 'stays', 100)
    main.set('expiry', 'goes', 1)
    until_gone(main, 'expiry')
    same main.get('expiry-long'), 'stays'
  },
  'large-value' => lambda { |main|
    value = SecureRandom.random_bytes(MIB - 1024)
    stored main.set('large', value, nil, RAW)
    same main.get('large', RAW).b == value, true
  },
  'too-large' => lambda { |main|
    main.set('too-large', 'old')
    begin
      same main.set('too-large', SecureRandom.random_bytes(MIB + 1), nil, RAW) || false, false
    rescue Dalli::DalliError => e
      raise unless e.message.match?(/too large/i)
    end
    usable(main)
    same main.get('too-large'), nil
  },
  'binary-values' => lambda { |main|
    stored main.set('binary', BINARY, nil, RAW)
    same main.get('binary', RAW).b, BINARY
  },
  'unicode-values' => lambda { |main|
    stored main.set('unicode', TEXT)
    same main.get('unicode'), TEXT
  },
  'read-only' => lambda { |main|
    needs_login
    main.set('ro', '7', nil, RAW)
    main.set('ro-life', 'kept')
    reader = connect(:read_only)
    same reader.get('ro', RAW), '7'
    WRITES.each do |name, write|
      same [name, write.call(reader) || false], [name, false]
      same [name, reader.get('ro', RAW)], [name, '7']
    end
    # The refusals come unasked in the middle of a quiet block.
    reader.multi { 10.times { |number| reader.set("ro-quiet-#{number}", 'x') } }
    same reader.get_multi('ro-quiet-0', 'ro-quiet-9', 'ro'), { 'ro' => '7' }
    # touch answers true whatever came back; what counts is that the life did not change.
    reader.touch('ro-life', 1)
    main.set('ro-control', 'goes', 1)
    until_gone(main, 'ro-control')
    same reader.get('ro-life'), 'kept'
    same main.get('ro-new'), nil
  },
  'no-flush' => lambda { |main|
    needs_login
    main.set('no-flush', 'stays')
    writer = connect(:no_flush)
    same writer.get('no-flush'), 'stays'
    writer.flush
    usable(writer)
    same writer.get('no-flush'), 'stays'
    same main.get('no-flush'), 'stays'
  },
  'promotion' => lambda { |main|
    main.set('promotion', 'before')
    same main.get('promotion'), 'before'
    wait_for_the_test('promotion')
    same main.get('promotion'), 'before'
    usable(main)
  },
  'promoted-login' => lambda { |main|
    needs_login
    wait_for_the_test('promoted-login')
    fresh = connect(:promoted)
    same fresh.get('promotion'), 'before'
    stored fresh.set('promotion', 'after')
    same main.get('promotion'), 'after'
  },
  'flush' => lambda { |main|
    main.set('flush', 'x')
    main.flush
    same main.get('flush'), nil
    usable(main)
  },
  'wrong-password' => lambda { |_|
    needs_login
    begin
      seen = connect(:full, 'not-the-password').get('set-get')
    rescue Dalli::DalliError => e
      raise unless e.message == 'Error authenticating: 0x20'
    else
      raise "no error, and the answer #{seen.inspect}"
    end
  }
}.freeze

WRITES = {
  'set' => ->(reader) { reader.set('ro', '9', nil, RAW) },
  'add' => ->(reader) { reader.add('ro-new', '9') },
  'replace' => ->(reader) { reader.replace('ro', '9') },
  'append' => ->(reader) { reader.append('ro', '9') },
  'prepend' => ->(reader) { reader.prepend('ro', '9') },
  'incr' => ->(reader) { reader.incr('ro', 1) },
  'decr' => ->(reader) { reader.decr('ro', 1) },
  'cas' => ->(reader) { reader.set_cas('ro', '9', reader.get_cas('ro').last) },
  'delete' => ->(reader) { reader.delete('ro') }
}.freeze

main = connect(:full)
CHECKS.each do |name, check|
  check.call(main)
  puts "ok #{name}"
rescue Cannot => e
  puts "skip #{name} - #{e.message}"
rescue StandardError => e
  warn e.full_message(highlight: false)
  puts "not ok #{name} - #{e.class}: #{e.message.tr("\n", ' ')}"
end
