#!/usr/bin/perl
# The projection can be lost at any moment: whatever happens to Redis, each
# answer under traffic is the truth, and the projection comes back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Copy qw(copy);
use File::Temp ();
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;

my $t = CardxTest->new->start;
my $me = $t->register('+8613800138000');
my $token = { token => $me->{access_token} };
my $conf = "$t->{var}/conf/cardx.conf";

sub card {
    my ($name) = @_;
    return $t->card($token, name => { full => $name },
        notes => { n => { note => 'private' } });
}

sub key { @{ $t->key($token, @_) }{qw(key key_id)} }

sub revoke {
    my ($card, $key_id) = @_;
    return $t->delete("/v1/cards/$card/keys/$key_id", undef, $token);
}

sub ready {
    my ($seconds) = @_;
    return $t->wait_for(sub { eval {
        my ($run_id) = $t->redis('INFO', 'server') =~ /^run_id:(\w+)/m;
        ($t->redis('GET', 'cardx:ready') // '') eq $run_id
            && $t->redis('EXISTS', 'cardx:epoch');
    } }, $seconds || 20);
}

# --- the truth, and who asks for it all the time -----------------------------

# path => [headers, status, what the body has, what it has not]
my %truth;

sub is_true {
    my ($path, $r) = @_;
    my (undef, $status, $has, $has_not) = @{ $truth{$path} };
    return $r->{status} == $status
        && (!defined $has || $r->{body} =~ /$has/)
        && (!defined $has_not || $r->{body} !~ /$has_not/);
}

sub ask {
    my ($path) = @_;
    return $t->get($path =~ s/#.*//r, undef, $truth{$path}[0]);
}

# Processes that ask until they are stopped; what they got that is not true.
sub traffic {
    my @asking;
    for (1 .. 2) {
        my $notes = File::Temp->new;
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            my ($n, $stop, @wrong) = (0, 0);
            $SIG{TERM} = sub { $stop = 1 };
            while (!$stop) {
                for my $path (keys %truth) {
                    my $r = ask($path);
                    $n++;
                    push @wrong, "$path: $r->{status} $r->{body}"
                        if !$stop && !is_true($path, $r);
                }
                sleep 0.01;
            }
            open my $out, '>', $notes->filename;
            print $out join "\n", $n, @wrong;
            close $out;
            POSIX::_exit(0);
        }
        push @asking, { pid => $pid, notes => $notes };
    }
    return @asking;
}

sub all_true {
    my ($name, @asking) = @_;
    my ($n, @wrong) = (0);
    for my $one (@asking) {
        kill 'TERM', $one->{pid};
        waitpid $one->{pid}, 0;
        open my $in, '<', $one->{notes}->filename or die;
        my ($count, @lines) = <$in>;
        $n += $count;
        push @wrong, @lines;
    }
    ok(!@wrong && $n > 0, "$name: every answer was true ($n)")
        or diag(@wrong > 5 ? @wrong[0 .. 4] : @wrong);
}

sub now_true {
    my ($name) = @_;
    my @wrong = grep { !is_true($_, ask($_)) } keys %truth;
    is("@wrong", '', $name);
}

# Whether nginx takes this card from Redis: it believes what stands there.
my ($believed, $believed_key);
sub from_redis {
    my ($card, $key) = ($believed, $believed_key);
    my $name = "cardx:card:{$card}";
    my $body = $t->redis('HGET', $name, 'b:') // return 0;
    $t->redis('HSET', $name, 'b:', '{"from":"Redis"}');
    my $r = $t->get("/c/$card", undef, { key => $key });
    $t->redis('HSET', $name, 'b:', $body);
    return $r->{body} =~ /from/;
}

my @cards = map { card("Card $_") } 0 .. 9;
my (@keys, @key_ids);
for my $i (0 .. $#cards) {
    ($keys[$i], $key_ids[$i]) = key($cards[$i]);
    $truth{"/c/$cards[$i]"} = [ { key => $keys[$i] }, 200, qr/Card $i"/ ];
}
$believed = card('Believed or not');
($believed_key) = key($believed);

# two that nobody asks for
my ($quiet, $loud) = (card('Quiet'), card('Loud'));
my ($quiet_key, $quiet_id) = key($quiet);
my ($loud_key, $loud_id) = key($loud);

my ($narrow) = key($cards[0], fields => ['titles']);
$truth{"/c/$cards[0]#narrow"} = [ { key => $narrow }, 200, qr/Card 0"/,
    qr/private/ ];

my ($gone, $gone_id) = key($cards[1]);
is(revoke($cards[1], $gone_id)->{status}, 204, 'a key is revoked');
$truth{"/c/$cards[1]#revoked"} = [ { key => $gone }, 404 ];
$truth{"/q/$gone"} = [ {}, 404 ];
$truth{"/q/$keys[2]"} = [ {}, 302 ];

my $second = $t->sign_in('+8613800138000', $me->{initial_password});
$truth{'/v1/me'} = [ $token, 200 ];
$truth{'/v1/me#second'} = [ { token => $second->{access_token} }, 200 ];

ok(ready(), 'complete');
now_true('all is as it is');
ok($t->wait_for(sub { from_redis() }), 'from Redis');

# --- flushed under traffic ---------------------------------------------------

my @asking = traffic();
for (1 .. 5) {
    $t->redis('FLUSHALL');
    sleep 0.1 + rand 0.4;
}
ok(ready(), 'flushed: complete again');
ok($t->wait_for(sub { from_redis() }), 'from Redis again');
all_true('flushed', @asking);
like($t->redis('HGET', "cardx:card:{$cards[1]}", 'k:' . CardxTest::hash_name($gone)),
    qr/^x$/, 'the revoked key is known as that');
my $redirect = $t->redis('GET', 'cardx:q:' . CardxTest::hash_name($keys[2]));
like($redirect, qr/^\d+ \Q$cards[2]\E$/, 'redirects are back');
is(scalar @{ $t->redis('KEYS', 'cardx:token:*') }, 2, 'tokens are back');

# --- fanout killed while it rebuilds -----------------------------------------

$t->psql("insert into cardx.cards (card_id, user_id, card)
    select 'x' || lpad(i::text, 27, '0'), '$me->{user_id}',
        jsonb_build_object('\@type', 'Card', 'version', '1.0', 'name',
            jsonb_build_object('full', repeat('x', 1000)))
    from generate_series(1, 3000) i;
    insert into cardx.card_keys (key_id, card_id, user_id, key_hash, view,
        expires_at)
    select 'k' || lpad(i::text, 27, '0'), 'x' || lpad(i::text, 27, '0'),
        '$me->{user_id}', sha256(i::text::bytea), '', now() + interval '1 day'
    from generate_series(1, 3000) i");

@asking = traffic();
for (1 .. 3) {
    $t->redis('FLUSHALL');
    $t->wait_for(sub { $t->redis('EXISTS', 'cardx:epoch') });
    sleep rand 0.2;
    $t->kill9('fanout');
}
ok(ready(30), 'fanout killed: complete in the end');
all_true('fanout killed', @asking);
is($t->redis('EXISTS', map { sprintf 'cardx:card:{x%027d}', $_ } 1 .. 3000),
    3000, 'all cards are there');

# --- killed, and empty when it comes back ------------------------------------

@asking = traffic();
$t->kill9('redis');
sleep 0.5;
my ($unsure, $unsure_id) = key($cards[4]);
my $r = $t->get("/c/$cards[4]", undef, { key => $unsure });
is($r->{status}, 200, 'Redis away: a new key opens');
$r = revoke($cards[4], $unsure_id);
is($r->{status}, 503, 'Redis away: a revocation is not yet in force');
is($r->{json}{code}, 'not_yet_in_force', 'and says so');
is($t->get("/c/$cards[4]", undef, { key => $unsure })->{status}, 404,
    'but committed');
$t->start;
$truth{"/c/$cards[4]#unsure"} = [ { key => $unsure }, 404 ];
ok(ready(), 'empty: complete again');
all_true('killed', @asking);
is(revoke($cards[4], $unsure_id)->{status}, 204, 'repeated, it is in force');
now_true('all is as it is');
ok($t->wait_for(sub { from_redis() }), 'from Redis again');

# --- back from an old dump ---------------------------------------------------

my $dump = "$t->{var}/redis/dump.rdb";
my $old = "$t->{var}/redis/old.rdb";

$t->redis('SAVE');
rename $dump, $old or die "$dump: $!";

is(revoke($quiet, $quiet_id)->{status}, 204, 'a key is revoked');
is(revoke($cards[5], $key_ids[5])->{status}, 204, 'revoked after the dump');
$truth{"/c/$cards[5]"} = [ { key => $keys[5] }, 404 ];
$truth{"/q/$keys[5]"} = [ {}, 404 ];
$r = $t->put("/v1/cards/$cards[6]", { '@type' => 'Card', version => '1.0',
    name => { full => 'Other' } }, $token);
is($r->{status}, 200, 'narrowed after the dump');
$truth{"/c/$cards[6]"} = [ { key => $keys[6] }, 200, qr/"Other"/,
    qr/private|Card 6/ ];
is($t->delete("/v1/cards/$cards[7]", undef, $token)->{status}, 204,
    'deleted after the dump');
$truth{"/c/$cards[7]"} = [ { key => $keys[7] }, 404 ];
is($t->delete("/v1/me/terminals/$second->{terminal_id}", undef,
    $token)->{status}, 204, 'signed out after the dump');
$truth{'/v1/me#second'} = [ { token => $second->{access_token} }, 401 ];
now_true('all is as it is');

$t->outbox_empty;
@asking = traffic();
$t->signal('fanout', 'STOP');
$t->kill9('redis');
copy($old, $dump) or die "$dump: $!";
chmod 0644, $dump;
$t->start;

like($t->redis('HGET', "cardx:card:{$quiet}", 'k:' . CardxTest::hash_name($quiet_key)),
    qr/^\d+ $/, 'an old dump: Redis has a revoked key as good');
ok($t->redis('EXISTS', 'cardx:ready'), 'and says that it is complete');
sleep 1;
ok(!from_redis(), 'nothing of it is believed');
now_true('nothing stale is served');

# what is denied now holds, though Redis will be emptied
$t->settle;
is(revoke($loud, $loud_id)->{status}, 204, 'revoked meanwhile');
is($t->get("/c/$loud", undef, { key => $loud_key })->{status}, 404,
    'in force');
all_true('an old dump', @asking);
$truth{"/c/$loud"} = [ { key => $loud_key }, 404 ];

@asking = traffic();
$t->signal('fanout', 'CONT');
ok(ready(), 'complete again');
ok($t->wait_for(sub { from_redis() }), 'from Redis again');
all_true('rebuilt over it', @asking);
isnt($t->redis('HGET', "cardx:card:{$cards[7]}", 'v') // 'x', 1,
    'nothing of the deleted card is left');
$truth{"/c/$quiet"} = [ { key => $quiet_key }, 404 ];
now_true('all is as it is');
unlink $dump, $old;

# --- by hand -----------------------------------------------------------------

$t->redis('SET', 'junk', 1);
@asking = traffic();
my $output = CardxTest::capture("$t->{build}/cardx-fanout", $conf, 'rebuild');
is($?, 0, 'rebuilt by hand') or diag($output);
like($output, qr{^cards 0/30\d\d, 0 per second$}m, 'progress, at its start');
like($output, qr{^cards (30\d\d)/\1, \d+ per second$}m, 'and at its end');
ok(ready(1), 'complete when it returns');
is($t->redis('EXISTS', 'junk'), 0, 'what does not belong there is gone');
ok($t->wait_for(sub { from_redis() }), 'from Redis again');

# two at once, and fanout besides: one after the other
my @both = map {
    my $out = File::Temp->new;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDERR, '>', $out->filename;
        { exec "$t->{build}/cardx-fanout", $conf, 'rebuild' }
        POSIX::_exit(127);
    }
    { pid => $pid, out => $out };
} 1 .. 2;
my @codes = map { waitpid $_->{pid}, 0; $? } @both;
is("@codes", '0 0', 'two at once: both end well');
ok(ready(5), 'and it is complete');
all_true('rebuilt by hand', @asking);

$output = CardxTest::capture("$t->{build}/cardx-fanout", $conf, 'rebiuld');
is($? >> 8, 2, 'another word is refused');
like($output, qr/^usage: /m, 'with what is expected');

now_true('all is as it is');
$t->finish;
done_testing;
