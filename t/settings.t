#!/usr/bin/perl

# The settings file: every bad line is named, with what was expected.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Temp ();
use Test::More;

use CardxTest;

my $dir = File::Temp::tempdir('cx.XXXX', DIR => '/tmp', CLEANUP => 1);
my $cardxd = ($ENV{CARDX_BUILD} || "$CardxTest::ROOT/build") . '/cardxd';

sub spew {
    my ($name, $text, $mode) = @_;
    unlink "$dir/$name";
    open my $out, '>', "$dir/$name" or die "$name: $!";
    print $out $text;
    close $out;
    chmod $mode // 0600, "$dir/$name";
    return "$dir/$name";
}

my %good = (
    public_url => 'https://cards.example.org:8443',
    run_dir => "$dir/run",
    pid_dir => "$dir/pids",
    postgresql => 'host=/tmp dbname=cardx user=cardx_api',
    postgresql_fanout => 'host=/tmp dbname=cardx user=cardx_fanout',
    redis => "$dir/redis.sock",
    id_key_file => spew('id', '0123456789abcdef' x 4 . "\n"),
    master_key_file => spew('master', 'f' x 64),
    sms_secret_file => spew('sms', "secret\n"),
    sms_log => "$dir/sms.log",
);

# cardxd -t with these settings, those given on top, undef leaves one out.
sub check {
    my (%other) = @_;
    my %all = (%good, %other);
    my $file = spew('cardx.conf', join '',
        map { "$_ $all{$_}\n" } grep { defined $all{$_} } sort keys %all);
    return CardxTest::capture($cardxd, '-t', $file);
}

sub bad {
    my ($name, $value, $expected, $what) = @_;
    my %all = (%good, $name => $value);
    my $line = 1 + grep { $_ lt $name } keys %all;
    my $output = check($name => $value);
    is($? >> 8, 2, "$what: exit code");
    is($output, "$dir/cardx.conf:$line: $expected\n", "$what: message");
}

like(check(), qr/good$/, 'good settings');
is($?, 0, 'exit code');

spew('cardx.conf', join '', "# comment\n\n  \t\n",
    map { "\t$_  $good{$_} \t# why\r\n" } sort keys %good);
like(CardxTest::capture($cardxd, '-t', "$dir/cardx.conf"), qr/good$/,
    'comments, blanks, CR LF');

like(check(redis => '127.0.0.1:6379'), qr/good/, 'redis by host and port');
like(check(socket_mode => '0666'), qr/good/, 'mode');

# --- a cluster ---------------------------------------------------------------

my @nodes = ('10.0.0.1:6379', '10.0.0.2:6379');
sub cluster { check(redis_cluster => 'on', redis => "@nodes", @_) }
like(cluster(), qr/good/, 'nodes of a cluster');
like(cluster(redis => $nodes[0]), qr/good/, 'one of its nodes');
like(cluster(redis => "$nodes[0] \t $nodes[1]"), qr/good/, 'blanks between');
like(cluster(redis_database => 0), qr/good/, 'its only database');
like(check(redis_cluster => 'off'), qr/good/, 'none');

for my $case (
    [ { redis_cluster => 'off' }, 'redis',
        'redis: several addresses need redis_cluster on' ],
    [ { redis_cluster => undef }, 'redis',
        'redis: several addresses need redis_cluster on' ],
    [ { redis => "$dir/redis.sock" }, 'redis',
        'redis: a cluster needs host:port' ],
    [ { redis_database => 1 }, 'redis_database',
        'redis_database: a cluster has no other than 0' ],
    [ { redis => "$nodes[0] $dir/redis.sock" }, 'redis',
        'redis: expected the absolute path of a socket, or host:port' ],
    [ { redis => "$nodes[0] 10.0.0.2" }, 'redis',
        'redis: expected the absolute path of a socket, or host:port' ],
    [ { redis_cluster => 'yes' }, 'redis_cluster',
        'redis_cluster: expected off|on' ]) {
    my ($other, $name, $expected) = @$case;
    my $output = cluster(%$other);
    is($? >> 8, 2, "$expected: refused");
    my %all = (%good, redis_cluster => 'on', %$other);
    my $line = 1 + grep { defined $all{$_} && $_ lt $name } keys %all;
    is($output, "$dir/cardx.conf:$line: $expected\n", 'with its line');
}

my $number = 'expected a number from';
bad('public_url', 'cards.example.org', 'public_url: expected http:// or '
    . 'https:// and a host, without a closing slash', 'no scheme');
bad('public_url', 'https://a/', 'public_url: expected http:// or '
    . 'https:// and a host, without a closing slash', 'closing slash');
bad('run_dir', 'run', 'run_dir: expected an absolute path of at most 94 '
    . 'bytes (sockets stand in it)', 'relative run_dir');
bad('run_dir', '/' . 'x' x 94, 'run_dir: expected an absolute path of at '
    . 'most 94 bytes (sockets stand in it)', 'long run_dir');
bad('pid_dir', 'pids', 'pid_dir: expected an absolute path', 'relative path');
bad('redis', 'localhost', 'redis: expected the absolute path of a socket, '
    . 'or host:port', 'redis without port');
bad('workers_fast', '0', "workers_fast: $number 1 to 256", 'no workers');
bad('workers_fast', '3x', "workers_fast: $number 1 to 256", 'text after it');
bad('workers_fast', '99999999999999999999', "workers_fast: $number 1 to 256",
    'a number that does not fit');
bad('socket_mode', '0888', 'socket_mode: expected permissions in octal, as '
    . '0660', 'mode not octal');
bad('sms_gateway', 'pigeon', 'sms_gateway: expected log|kannel', 'choice');
bad('sms_gateway', 'ka', 'sms_gateway: expected log|kannel', 'part of a word');
bad('default_region', 'cn', 'default_region: expected two capital letters, '
    . 'as CN', 'region');
bad('log_level', 'loud', 'log_level: expected alert|error|warn|info',
    'level');
bad('id_key_file', "$dir/none",
    "can't read $dir/none: No such file or directory", 'no such file');
bad('id_key_file', spew('short', 'abcd'), "$dir/short: expected 64 hex digits",
    'short key');
bad('master_key_file', spew('nohex', 'g' x 64),
    "$dir/nohex: expected 64 hex digits", 'not hex');
bad('master_key_file', spew('open', 'f' x 64, 0644),
    "$dir/open is open to everybody: expected mode 0600 or 0640",
    'a secret for everybody');
bad('other_master_key_file', spew('long', 'f' x 65),
    "$dir/long: expected 64 hex digits", 'another key, too long');
bad('sms_secret_file', spew('empty', "\n"), "$dir/empty is empty",
    'empty secret');
bad('sms_gateway', 'kannel', 'sms_gateway kannel needs sms_kannel_url, '
    . 'sms_kannel_user and sms_kannel_password_file', 'half a gateway');
bad('no_such', 'x', 'there is no setting "no_such"', 'unknown name');

like(check(postgresql => undef), qr/cardx\.conf:9: postgresql is missing: /,
    'missing');
like(check(postgresql => ''), qr/cardx\.conf:\d+: postgresql: expected a conn/,
    'empty');
like(check(sms_log => undef), qr/sms_gateway log needs sms_log/,
    'gateway without its log');

spew('cardx.conf', "redis /a\nredis /b\n");
is(CardxTest::capture($cardxd, '-t', "$dir/cardx.conf"),
    "$dir/cardx.conf:2: redis was already set in line 1\n", 'twice');

is(CardxTest::capture($cardxd, '-t', "$dir/absent"),
    "$dir/absent:0: can't read it: No such file or directory\n", 'no file');
spew('cardx.conf', '#' x 70000);
like(CardxTest::capture($cardxd, '-t', "$dir/cardx.conf"),
    qr/can't read it: File too large/, 'too large');
like(CardxTest::capture($cardxd), qr/^usage: /, 'usage');

done_testing;
