#!/usr/bin/perl
# fanout: what the outbox asks for reaches the edge, whoever dies in between;
# scans are counted once; what has had its time is swept.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use Test::More;
use Time::HiRes qw(sleep time);

use CardxTest;

my $t = CardxTest->new->start;
my $me = $t->register('+8613800138000');
my $token = { token => $me->{access_token} };

sub card { $t->card($token, name => { full => $_[0] }) }
sub key { @{ $t->key($token, @_) }{qw(key key_id)} }

# What a worker does that dies right after its commit: Redis knows nothing.
sub behind {
    my ($sql, $effect, $object) = @_;
    $t->psql("begin; $sql; select cardx.outbox_add('$effect', '$object');
        commit");
}

sub fetch { $t->get("/c/$_[0]", undef, { key => $_[1] }) }
sub status { fetch(@_)->{status} }
sub name { fetch(@_)->{json}{name}{full} // '' }

# --- what was committed and not projected ------------------------------------

my $card = card('Anna');
my ($key, $key_id) = key($card);
my ($other) = key($card);
ok($t->outbox_empty, 'all is handled');
is($t->redis('HGET', "cardx:card:{$card}", 'v'), 1, 'projected');
is(name($card, $key), 'Anna', 'read');

behind("update cardx.cards set card = jsonb_set(card, '{name,full}',
    '\"Berta\"'), revision = revision + 1 where card_id = '$card'",
    'card', $card);
ok($t->wait_for(sub { name($card, $key) eq 'Berta' }, 3),
    'a change arrives');
is($t->redis('HGET', "cardx:card:{$card}", 'v'), 2, 'at its revision');

behind("update cardx.card_keys set revoked_at = now()
    where key_id = '$key_id'", 'card', $card);
ok($t->wait_for(sub { status($card, $key) == 404 }, 3),
    'a revocation arrives');
$t->outbox_empty;
is($t->get("/q/$key")->{status}, 404, 'at its short link, too');
is($t->redis('GET', 'cardx:q:' . CardxTest::hash_name($key)), 'x', 'as a denial');
is(status($card, $other), 200, 'another key still opens');
is($t->get("/q/$other")->{status}, 302, 'and leads there');

# a card that no key opened was left out by a rebuild
my $quiet = card('Quiet');
ok($t->outbox_empty, 'a card without keys');
$t->redis('DEL', "cardx:card:{$quiet}");
key($quiet);
ok($t->wait_for(sub { $t->redis('HGET', "cardx:card:{$quiet}", 'v') }, 10),
    'its first key brings it, before anybody fetches it');

# a key whose projection never came
$t->redis('HDEL', "cardx:card:{$card}", 'k:' . CardxTest::hash_name($other));
$t->redis('DEL', 'cardx:q:' . CardxTest::hash_name($other));
behind('select 1', 'card', $card);
$t->outbox_empty;
like($t->redis('HGET', "cardx:card:{$card}", 'k:' . CardxTest::hash_name($other)),
    qr/^\d+ $/, 'a key is brought');
like($t->redis('GET', 'cardx:q:' . CardxTest::hash_name($other)), qr/^\d+ \Q$card\E$/,
    'with its redirect');

my $second = $t->sign_in('+8613800138000', $me->{initial_password});
my $its = { token => $second->{access_token} };
is($t->get('/v1/me', undef, $its)->{status}, 200,
    'a second terminal');
behind("update cardx.terminals set signed_out_at = now()
    where terminal_id = $second->{terminal_id}", 'terminal',
    "$me->{user_id}/$second->{terminal_id}");
ok($t->wait_for(sub { ($t->redis('GET',
    "cardx:terminal:{$me->{user_id}}:$second->{terminal_id}") // '') eq 'x' },
    3), 'a sign-out arrives');
is($t->get('/v1/me', undef, $its)->{status}, 401,
    'its token opens nothing');
is($t->get('/v1/me', undef, $token)->{status}, 200,
    'the other one does');

my $doomed = card('Doomed');
my ($doomed_key) = key($doomed);
$t->outbox_empty;
my $thumb = $t->psql("select thumbnail_id from cardx.thumbnails
    where card_id = '$doomed'");
behind("with gone as (delete from cardx.thumbnails where card_id = '$doomed'
            returning thumbnail_id)
        select cardx.outbox_add('thumbnail', thumbnail_id) from gone;
        update cardx.cards set deleted_at = now() where card_id = '$doomed'",
    'card', $doomed);
ok($t->wait_for(sub { status($doomed, $doomed_key) == 404 }, 3),
    'a deletion arrives');
is($t->redis('HGET', "cardx:card:{$doomed}", 'v'), 'x', 'as a denial');
$t->outbox_empty;
is($t->get("/q/$doomed_key")->{status}, 404, 'at its short link');
is($t->get("/t/$thumb")->{status}, 404, 'and its thumbnail') if $thumb;

# --- asked for again while it is in hand -------------------------------------

$t->psql("insert into cardx.outbox (effect, object, due_at)
    values ('card', '$card', now() + interval '1 hour')");
$t->psql("select cardx.outbox_add('card', '$card')");
ok($t->outbox_empty, 'is due at once');

# a transaction that asks holds the row: it is passed over, not lost
my $hold = fork // die;
if (!$hold) {
    CardxTest::capture('psql', '-XAtq', '-h', "$t->{var}/pgrun", '-U',
        'postgres', '-d', 'cardx', '-c', "begin;
        select cardx.outbox_add('card', '$card');
        select pg_sleep(1); commit");
    require POSIX;
    POSIX::_exit(0);
}
behind('select 1', 'terminal', "$me->{user_id}/$me->{terminal_id}");
waitpid $hold, 0;
ok($t->outbox_empty, 'a transaction that takes its time is waited for');

# --- kill -9, again and again ------------------------------------------------

my @cards = map { card("Card $_") } 1 .. 40;
my %keys = map { my ($k) = key($_); ($_ => $k) } @cards;
$t->outbox_empty;

$t->psql(join ';', map { "update cardx.cards set revision = revision + 1,
    card = jsonb_set(card, '{name,full}', '\"New\"') where card_id = '$_';
    select cardx.outbox_add('card', '$_')" } @cards);
for (1 .. 4) {
    $t->kill9('fanout');
    sleep 0.05;
    $t->psql('update cardx.outbox set due_at = now()');
}
$t->wait_for(sub {
    $t->psql('update cardx.outbox set due_at = now()');
    sleep 0.3;
    $t->psql('select count(*) from cardx.outbox') == 0;
}, 20);
is(scalar(grep { name($_, $keys{$_}) eq 'New' } @cards), 40,
    'killed: nothing is lost');

# --- PostgreSQL and Redis away -----------------------------------------------

my $pid = $t->pid('fanout');
$t->expect_log(qr/the database system|server closed the connection/);
$t->kill9('postgres');
sleep 1;
$t->start;
behind("update cardx.cards set card = jsonb_set(card, '{name,full}',
    '\"Carla\"'), revision = revision + 1 where card_id = '$card'",
    'card', $card);
ok($t->wait_for(sub { name($card, $other) eq 'Carla' }, 15),
    'goes on after PostgreSQL was away');
is($t->pid('fanout'), $pid, 'the same process');

$t->signal('redis', 'STOP');
$t->wait_for(sub { $t->read_log('cardxd.log') . join('', map {
    $t->read_log(s{.*/}{}r) } glob "$t->{var}/log/fanout*") =~ /Redis: away/ });
sleep 0.5;
behind('select 1', 'card', $card);
sleep 1.2;
is($t->psql("select attempts from cardx.outbox where object = '$card'"), 0,
    'while Redis is away nothing is claimed');
$t->thaw_redis;
ok($t->outbox_empty(5), 'and goes on at once when it is back');

# --- scans -------------------------------------------------------------------

sub scans { $t->psql("select scans from cardx.card_keys
    where key_hash = '\\x" . sha256_hex($_[0]) . "'") }
sub raw { pack 'B128', join '', map { sprintf '%05b',
    index 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', $_ } split //, $_[0] }

my ($scanned) = key($card);
$t->get("/q/$scanned") for 1 .. 3;
ok($t->wait_for(sub { scans(raw($scanned)) == 3 }, 5), 'scans are counted');
my $digit = substr CardxTest::hash_name($scanned), 0, 1;
my $counts = "cardx:scans:{$digit}";
ok($t->wait_for(sub { !$t->redis('EXISTS', $counts, "$counts:batch") }),
    'and taken from Redis');

# dead after the commit: the batch is still there
my $batch = $t->psql('select scans_batch from cardx.fanout_state');
$t->redis('HSET', "$counts:batch", CardxTest::hash_name($scanned), 3,
    'batch', $batch);
ok($t->wait_for(sub { !$t->redis('EXISTS', "$counts:batch") }, 5),
    'a batch that was added is dropped');
is(scans(raw($scanned)), 3, 'and not added twice');

# dead before the commit
$t->redis('HSET', "$counts:batch", CardxTest::hash_name($scanned), 2,
    'batch', "${digit}new");
ok($t->wait_for(sub { scans(raw($scanned)) == 5 }, 5),
    'a batch that was not is');

$t->redis('HINCRBY', $counts, CardxTest::hash_name($scanned), 1);
$t->redis('HINCRBY', $counts, 'f' x 32, 7);
$t->redis('HINCRBY', $counts, "nonsense'", 7);
ok($t->wait_for(sub { scans(raw($scanned)) == 6 }, 5),
    'what no key has does not matter');

# --- sweeping ----------------------------------------------------------------

$t->psql("insert into cardx.card_keys (key_id, card_id, user_id,
    key_hash, view, expires_at) values ('old', '$card', '$me->{user_id}',
    '\\x01', '', now() - interval '31 days'), ('young', '$card',
    '$me->{user_id}', '\\x02', '', now() - interval '29 days')");
$t->psql("insert into cardx.access_tokens values ('\\x01', '$me->{user_id}',
    $me->{terminal_id}, now() - interval '1 s')");
$t->psql("insert into cardx.refresh_tokens values ('\\x01', '$me->{user_id}',
    $me->{terminal_id}, now(), now() - interval '1 s')");
$t->psql("insert into cardx.registrations (registration_id, phone, method,
    code_hmac, expires_at) values ('old', '+1', 'sms-down', '\\x01',
    now() - interval '25 hours'), ('young', '+1', 'sms-down', '\\x01',
    now() - interval '23 hours')");
$t->psql("insert into cardx.sms (sms_id, recipient, state, created_at,
    expires_at) values ('old', '+1', 'sent', now() - interval '8 days', now()),
    ('young', '+1', 'sent', now() - interval '6 days', now())");
$t->psql("insert into cardx.idempotency values ('s', '\\x01', '\\x', 200,
    '\\x', now() - interval '25 hours'), ('s', '\\x02', '\\x', 200, '\\x',
    now() - interval '23 hours')");
$t->psql("insert into cardx.media (media_id, card_id, user_id, kind, type,
    bytes, replaced_at) select m, '$card', '$me->{user_id}', 'photo',
    'image/png', 1, now() - a::interval
    from (values ('old', '61 min'), ('young', '59 min')) as v (m, a)");
$t->psql("insert into cardx.media_chunks values ('old', 0, '\\x00')");
$t->psql("update cardx.cards set deleted_at = now() - interval '25 hours'
    where card_id = '$doomed'");
my $untold = card('Untold');
$t->psql("begin; update cardx.cards set deleted_at = now()
    - interval '25 hours' where card_id = '$untold';
    insert into cardx.outbox (effect, object, due_at)
    values ('holders', '$untold', now() + interval '1 day'); commit");
$t->kill9('fanout');

ok($t->wait_for(sub { $t->psql("select count(*) from cardx.cards
    where card_id = '$doomed'") == 0 }, 10), 'a deleted card goes');
is($t->psql("select count(*) from cardx.cards where card_id = '$untold'"), 1,
    'not before its holders have been told');
is($t->psql("select count(*) from cardx.card_keys where card_id = '$doomed'"),
    0, 'with its keys');
for my $what ([ 'card_keys', 'key_id' ], [ 'registrations', 'registration_id' ],
    [ 'sms', 'sms_id' ], [ 'media', 'media_id' ]) {
    is($t->psql("select string_agg($what->[1], ' ') from cardx.$what->[0]
        where $what->[1] in ('old', 'young')"), 'young', "swept: $what->[0]");
}
is($t->psql("select count(*) from cardx.media_chunks where media_id = 'old'"),
    0, 'with their chunks');
is($t->psql("select count(*) from cardx.idempotency where scope = 's'"), 1,
    'swept: idempotency');
is($t->psql('select count(*) from cardx.access_tokens
    where expires_at < now()'), 0, 'swept: access tokens');
is($t->psql('select count(*) from cardx.refresh_tokens
    where expires_at < now()'), 0, 'swept: refresh tokens');

# --- what its role may not ---------------------------------------------------

for my $table (qw(users cards contacts card_keys sms access_tokens
    registrations media_chunks)) {
    next unless $t->psql("select to_regclass('cardx.$table') is not null")
        eq 't';
    ok(!eval { $t->psql("select * from cardx.$table", 'cardx_fanout'); 1 },
        "fanout's role can't read $table");
}
ok(!eval { $t->psql("select cardx.sms_take('x')", 'cardx_api'); 1 },
    'nor the api take a message');

$t->finish;
done_testing;
