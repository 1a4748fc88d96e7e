# Web Push (F9): subscriptions, and what arrives at a push service that
# decrypts it.

use strict;
use warnings;

use FindBin ();
use lib "$FindBin::Bin/lib";

use CardxTest ();
use CardxTest::PushService ();
use File::Temp ();
use JSON::PP ();
use Test::More;

my $json = JSON::PP->new->utf8;
my $dir = File::Temp::tempdir('cx.XXXX', DIR => '/tmp', CLEANUP => 1);
chmod 0755, $dir;

my $service = CardxTest::PushService->new($dir, gone => [410],
    busy => [503, 201], refused => [400]);
my %browser = map { $_ => $service->browser($_) }
    qw(anna second gone busy refused bob);
$service->start;

my $t = CardxTest->new(settings => {
    push_hosts => $service->host . ' .push.example',
    push_ca_file => $service->ca })->start;

my $anna = $t->register('+8613800138000');
my $bob = $t->register('+8613800138001');
my %anna = (token => $anna->{access_token});
my %bob = (token => $bob->{access_token});
my $at = '/v1/push/subscriptions';

sub card { return { '@type' => 'Card', version => '1.0',
    name => { full => $_[0] } } }

# What came for a browser, once there are as many as wanted.
sub arrived {
    my ($name, $n) = @_;
    my @pushes;
    $t->wait_for(sub { @pushes = $service->pushes($name); @pushes >= $n }, 20);
    return @pushes;
}

# --- the key, and subscriptions -------------------------------------------

my $r = $t->get('/v1/push/key', undef, \%anna);
is($r->{status}, 200, 'the key');
like($r->{json}{key}, qr/^B[\w-]{86}$/, 'is a point of P-256');
my $key = $r->{json}{key};
is($t->get('/v1/push/key')->{status}, 401, 'for who is signed in');

for my $bad (
    [{}, 'nothing'],
    [{ %{ $browser{anna} }, endpoint => 'http://localhost/x' }, 'http'],
    [{ %{ $browser{anna} }, endpoint => 'https://169.254.169.254/x' },
        'an address inside'],
    [{ %{ $browser{anna} }, endpoint => 'https://localhost/x' }, 'its port'],
    [{ %{ $browser{anna} }, endpoint => 'https://push.example/x' },
        'the domain itself, where what is below it is meant'],
    [{ %{ $browser{anna} }, endpoint => 'https://evilpush.example/x' },
        'another domain with that end'],
    [{ %{ $browser{anna} }, endpoint => 'https://' . $service->host
        . '@evil.example/x' }, 'a host as user name'],
    [{ %{ $browser{anna} }, endpoint => "https://a.push.example/\n" },
        'a line feed'],
    [{ %{ $browser{anna} }, endpoint => 'https://a.push.example/'
        . 'x' x 2048 }, 'too long'],
    [{ %{ $browser{anna} }, keys => {} }, 'no keys'],
    [{ %{ $browser{anna} }, keys => { %{ $browser{anna}{keys} },
        auth => 'AAAA' } }, 'a short secret'],
    [{ %{ $browser{anna} }, keys => { %{ $browser{anna}{keys} },
        p256dh => 'B' . 'A' x 86 } }, 'no point of the curve'],
    [{ %{ $browser{anna} }, keys => 7 }, 'keys that are none'],
    [{ %{ $browser{anna} }, expirationTime => 'soon' }, 'no time'],
) {
    $r = $t->post($at, $bad->[0], \%anna);
    is($r->{status}, 422, "refused: $bad->[1]");
    like($r->{json}{code}, qr/^invalid_/, 'and why');
}
is($t->psql('select count(*) from cardx.push_subscriptions'), 0,
    'nothing was kept');

$r = $t->post($at, { %{ $browser{anna} },
    endpoint => 'https://a.push.example/x' }, \%anna);
is($r->{status}, 201, 'a host below a known domain');
my $first = $r->{json}{subscription_id};

$r = $t->post($at, $browser{anna}, \%anna);
is($r->{status}, 200, 'one for each terminal: the newer takes its place');
my $subscription = $r->{json}{subscription_id};
isnt($subscription, $first, 'under another id');
is($r->{json}{terminal_id}, $anna->{terminal_id}, 'its terminal');
is($r->{json}{origin}, 'https://' . $service->host, 'its origin');

$r = $t->get($at, undef, \%anna);
is_deeply([map { $_->{subscription_id} } @{ $r->{json}{items} }],
    [$subscription], 'the list');
unlike($r->{body}, qr/auth|p256dh|endpoint/, 'tells no secret');
is_deeply($t->get($at, undef, \%bob)->{json}{items}, [], 'nobody else sees it');
is($t->delete("$at/$subscription", undef, \%bob)->{status}, 404,
    'or can delete it');
my $row = $t->psql('select encode(sealed, \'escape\') from '
    . 'cardx.push_subscriptions');
unlike($row, qr{/push/anna}, 'the endpoint is sealed at rest');

# --- what arrives -----------------------------------------------------------

my $card = $t->post('/v1/cards', card('Anna'), \%anna)->{json}{card_id};
my ($push) = arrived('anna', 1);
ok($push, 'a push arrives');
is($push->{error}, undef, 'signed and encrypted as it must be');
is($push->{method}, 'POST', 'by POST');
is($push->{headers}{'content-encoding'}, 'aes128gcm', 'its encoding');
like($push->{headers}{ttl}, qr/^\d+$/, 'its time to live');
is($push->{jwt}{k}, $key, 'the key that browsers subscribe with');
is($push->{jwt}{aud}, 'https://' . $service->host, 'for this service');
cmp_ok($push->{jwt}{exp}, '<=', time + 86400, 'for a day at most');
like($push->{jwt}{sub}, qr/^https:/, 'whom to turn to');

my $told = sub { grep { $_->{kind} eq 'card' && $_->{id} eq $card
    && $_->{op} eq $_[0] } map { @{ $json->decode($_->{text})->{changes} } }
    grep { defined $_->{text} } $service->pushes('anna') };
ok($t->wait_for(sub { $told->('put') }, 10), 'it tells what has changed');
is($t->delete("/v1/cards/$card", undef, \%anna)->{status}, 204, 'deleted');
ok($t->wait_for(sub { $told->('delete') }, 10), 'and what is gone');

is((scalar $service->pushes('bob')), 0, 'nobody else is told');

# a card that bob holds changes: he is pushed, until it is taken back from him
is($t->post($at, $browser{bob}, \%bob)->{status}, 201, 'bob, too');
my $shown = $t->post('/v1/cards', card('Anna shown'), \%anna)
    ->{json}{card_id};
my $drawn = $t->post("/v1/cards/$shown/keys", {}, \%anna)->{json}{key};
my $held = $t->post('/v1/contacts', { card_id => $shown, key => $drawn },
    \%bob)->{json}{contact_id};
my $heard = sub { scalar grep { ($_->{text} // '') =~ /\Q$held\E/ }
    $service->pushes('bob') };
my $idle = sub { $t->wait_for(sub { $t->psql("select count(*)
    from cardx.outbox where effect in ('holders', 'wake', 'push')") == 0 },
    20) };
$idle->();
my $count = $heard->();
$t->put("/v1/cards/$shown", card('Anna changed'), \%anna);
ok($t->wait_for(sub { $heard->() > $count }, 20), 'who holds it is pushed');
$t->delete("/v1/cards/$shown/holders/$bob->{user_id}", undef, \%anna);
ok($idle->(), 'it is taken back');
$count = () = $service->pushes('bob');
$t->put("/v1/cards/$shown", card('Anna again'), \%anna);
ok($idle->(), 'it changes again');
is((() = $service->pushes('bob')), $count, 'of which bob hears nothing');
$t->delete($at, undef, \%bob);

# --- services that refuse ---------------------------------------------------

my $second = $t->sign_in('+8613800138000', $anna->{initial_password});
my %second = (token => $second->{access_token});
is($t->post($at, $browser{gone}, \%second)->{status}, 201, 'one that is gone');
$t->post('/v1/cards', card('Anna 2'), \%anna);
arrived('gone', 1);
ok($t->wait_for(sub {
    1 == @{ $t->get($at, undef, \%anna)->{json}{items} } }, 10),
    '410: the subscription is forgotten');

is($t->post($at, $browser{busy}, \%second)->{status}, 201, 'one that is busy');
$t->post('/v1/cards', card('Anna 3'), \%anna);
my @busy = arrived('busy', 2);
is($busy[0]{status}, 503, 'it is busy');
is($busy[1]{status}, 201, 'and is told again');
is($busy[0]{text}, $busy[1]{text}, 'the same');

is($t->post($at, $browser{refused}, \%second)->{status}, 200,
    'one that does not want it');
$t->post('/v1/cards', card('Anna 4'), \%anna);
is((arrived('refused', 1))[0]{status}, 400, 'it says so');
ok($t->wait_for(sub {
    $t->psql("select count(*) from cardx.outbox where effect = 'push'") == 0
    }, 10), 'and is not asked again');

# --- whose an endpoint is, and until when ------------------------------------

is($t->post($at, $browser{anna}, \%bob)->{status}, 201,
    'another user of the same browser');
is_deeply([map { $_->{terminal_id} } @{ $t->get($at, undef, \%anna)
    ->{json}{items} }], [$second->{terminal_id}], 'ends the former one\'s');
is($t->delete($at, undef, \%bob)->{status}, 204, 'a terminal ends its own');
is($t->delete($at, undef, \%bob)->{status}, 404, 'once');

is($t->post($at, $browser{second}, \%second)->{status}, 200, 'a phone');
is($t->delete("/v1/me/terminals/$second->{terminal_id}", undef, \%anna)
    ->{status}, 204, 'that is lost (A8)');
is_deeply($t->get($at, undef, \%anna)->{json}{items}, [], 'is on no list');
my $before = () = $service->pushes('second');
is($t->post($at, $browser{bob}, \%anna)->{status}, 201, 'another terminal');
$t->post('/v1/cards', card('Anna 5'), \%anna);
ok(arrived('bob', 1), 'is told');
is((() = $service->pushes('second')), $before, 'the lost one is not');

# --- kill -9 -----------------------------------------------------------------

$t->kill9('push-0');
my $n = () = $service->pushes('bob');
my $last = $t->post('/v1/cards', card('Anna 6'), \%anna)->{json}{card_id};
ok($t->wait_for(sub { grep { ($_->{text} // '') =~ /\Q$last\E/ }
    $service->pushes('bob') }, 40), 'a push survives its worker');

is_deeply([grep { defined } map { $_->{error} } $service->pushes], [],
    'all were signed and encrypted');
my $logs = join '', map { $t->read_log($_) } map { s{.*/}{}r }
    glob $t->var . '/log/*.log';
unlike($logs, qr{/push/(?:anna|bob)}, 'no log has an endpoint');

$t->finish;
$service->stop;
done_testing;
