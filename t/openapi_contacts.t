#!/usr/bin/perl
# docs/openapi.yaml says what the running server does: contacts, holders and
# blocks, and Web Push; the rest: t/openapi.t.

use strict;
use utf8;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Documented;
use CardxTest::Media;

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

about(qw(contacts holders push));

my $card = { '@type' => 'Card', version => '1.0',
    name => { full => 'Anna Íto' }, titles => { t => { name => 'Engineer' } },
    phones => { w => { number => '+4930111' } } };
my ($account, $holder) = map { $t->register(number()) } 1 .. 2;
my %me = (token => $account->{access_token});
my %hold = (token => $holder->{access_token});
my $id = call(createCard => 201, \%me, $card)->{card_id};
my %my = (%me, card_id => $id);


subtest 'web push' => sub {
    my %subscription = (
        endpoint => 'https://updates.push.services.mozilla.com/wpush/v2/a',
        keys => { auth => 'BTBZMqHH6r4Tts7J_aSIgg',
            p256dh => call(getPushKey => 200, \%me)->{key} });
    call(subscribePush => 201, \%me, \%subscription);
    call(subscribePush => 200, \%me, \%subscription);
    call(subscribePush => '422 invalid_subscription', \%me,
        { %subscription, endpoint => 'https://other.example/' });
    call(subscribePush => '422 invalid_endpoint', \%me,
        { %subscription, endpoint => 'x' x 3000 });
    my $list = call(listPushSubscriptions => 200, \%me);
    my %one = (%me, subscription_id => $list->{items}[0]{subscription_id});
    call(deletePushSubscription => 204, \%one);
    call(deletePushSubscription => '404 not_found', \%one);
    call(unsubscribePush => '404 not_found', \%me);
    call(subscribePush => 201, \%me, \%subscription);
    call(unsubscribePush => 204, \%me);
};


my (%save, %held, %photo, %medium, $saved, $own);

subtest 'adding' => sub {
    my $good = call(drawKey => 201, \%my);
    %save = (card_id => $id, key => $good->{key});
    $saved = call(addContact => 201, \%hold, { %save, note => 'fair',
        tags => ['x'] });
    my %once = (%hold, 'Idempotency-Key' => 'once');
    call(addContact => 200, \%once, \%save) for 1 .. 2;
    call(addContact => '422 idempotency_key_reused', \%once,
        { own => $card });
    call(addContact => 200, \%hold, \%save);
    call(addContact => '404 key_refused', \%hold, { card_id => $id,
        key => 'A' x 26 });
    call(addContact => "422 invalid_$_->[0]", \%hold, $_->[1])
        for ['contact', {}], ['card_id', { card_id => 1 }],
        ['key', { card_id => $id, key => 1 }], ['own', { own => 1 }],
        ['note', { own => $card, note => 1 }],
        ['tags', { own => $card, tags => 1 }],
        ['pinned', { own => $card, pinned => 1 }];
    $t->psql("insert into cardx.contacts (contact_id, user_id, layer)
        select n, '$holder->{user_id}', 'x' from generate_series(1, 19999) n");
    call(addContact => '409 too_many_contacts', \%hold, { own => $card });
    $t->psql("delete from cardx.contacts where layer = 'x'");
    $own = call(addContact => 201, \%hold, { own => $card });
};


subtest 'reading and editing' => sub {
    %held = (%hold, contact_id => $saved->{contact_id});
    call(getContact => 200, \%held);
    call(getContact => 304, { %held, 'If-None-Match' => '*' });
    call(listContacts => 200, { %hold, q => 'fair', tag => 'x',
        deleted => 'false', limit => 10 });
    call(listContacts => "422 invalid_$_->[0]", { %hold, @$_ })
        for ['q', 'x' x 201], ['tag', 'x' x 201], ['deleted', 'x'];
    call(patchContact => 200, \%held, { note => 'other',
        own => { nicknames => { n => { name => 'An' } } } });
    call(patchContact => '412 version_conflict', { %held,
        'If-Match' => '"0"' }, { note => 'x' });
    call(patchContact => "422 invalid_$_->[0]", \%held, $_->[1])
        for ['contact', { card => {} }], ['own', { own => 1 }],
        ['note', { note => 1 }], ['tags', { tags => 1 }],
        ['pinned', { pinned => 1 }];
    call(listContactHistory => 200, { %held, limit => 100 });
};


subtest 'media' => sub {
    %photo = (%held, type => 'image/png');
    call(putContactPhoto => 201, \%photo, png(4, 4));
    call(putContactPhoto => 200, \%photo, png(4, 4));
    call(putContactPhoto => '422 empty', \%photo, '');
    call(putContactPhoto => '422 invalid_picture', \%photo, 'x');
    call(putContactPhoto => '413 too_large', \%photo, 'x' x 5_242_881);
    call(putContactPhoto => '415 unsupported_type', { %held,
        type => 'text/plain' }, 'x');
    call(putContactPhoto => '412 version_conflict', { %photo,
        'If-Match' => '"0"' }, png(4, 4));
    %medium = (%held, kind => 'photo');
    call(getContactMedium => 200, \%medium);
    call(getContactMedium => 304, { %medium, 'If-None-Match' => '*' });
    call(getContactMedium => 206, { %medium, Range => 'bytes=1-3' });
    is($t->get("/v1/contacts/$held{contact_id}/media/photo", undef,
        { %held, Range => 'bytes=1-3' })->{body}, 'PNG', 'that part');
    call(getContactMedium => '416 invalid_range', { %medium,
        Range => 'bytes=99999-' });
    call(deleteContactPhoto => '412 version_conflict', { %held,
        'If-Match' => '"0"' });
};


subtest 'joining, deleting, restoring' => sub {
    my %own = (%hold, contact_id => $own->{contact_id});
    call(mergeContact => 200, \%held, { with => $own->{contact_id} });
    call(restoreContact => 200, \%held);
    call(restoreContact => '409 nothing_to_restore', \%held);
    call(mergeContact => '422 invalid_with', \%held, { with => 1 });
    my $other = call(createCard => 201, \%me, $card);
    my $second = call(drawKey => 201, { %me, card_id => $other->{card_id} });
    my $two = call(addContact => 201, \%hold, { card_id =>
        $other->{card_id}, key => $second->{key} });
    call(mergeContact => '409 two_cards', \%held,
        { with => $two->{contact_id} });
    call(mergeContact => '409 too_much_together', \%held, { with =>
        call(addContact => 201, \%hold, { own => $card, note => 'x' x 8192 })
            ->{contact_id} });
    call(deleteContact => '412 version_conflict', { %own,
        'If-Match' => '"0"' });
    call(deleteContact => 204, \%own);
};


subtest 'import and export' => sub {
    my %vcard = (%hold, type => 'text/vcard');
    my $file = "BEGIN:VCARD\nVERSION:3.0\nFN:Im Port\nEND:VCARD\n";
    call(importContacts => '400 invalid_json', \%hold, '{"half');
    call(importContacts => '422 invalid_body', \%hold, '{}');
    call(importContacts => '413 too_large', \%vcard, $file x 1001);
    call(importContacts => '415 unsupported_type', { %hold,
        type => 'text/plain' }, 'x');
    call(importContacts => 200, \%vcard, "$file$file");
    call(exportContacts => "422 invalid_$_->[0]", { %hold, @$_ })
        for ['format', 'x'], ['version', '2.1'], ['cursor', "'"];
    call(exportContacts => 200, { %hold, format => 'json' });
    call(exportContacts => 200, { %hold, version => '3.0' });
};


subtest 'holders and blocks' => sub {
    my %taken = (%my, user_id => $holder->{user_id});
    call(listHolders => 200, { %my, limit => 10 });
    call(takeCardBack => 204, \%taken);
    call(listBlocks => 200, \%my);
    call(liftBlock => 204, \%taken);
    call(addContact => 200, \%hold, \%save);
    call(takeCardBack => 204, \%taken);
    call(liftBlock => 204, \%taken);
    call(addContact => 200, \%hold, \%save);
    call(takeCardBack => 204, \%taken);
    call(addContact => 201, \%hold, { own => $card });
    call(deleteContactPhoto => 204, \%held);
    call(putContactPhoto => 201, \%photo, png(4, 4));
    call(getContactMedium => 200, \%medium);
};

# --- what holds for many ---------------------------------------------------

subtest 'for whom, of what' => \&for_whom;
subtest 'other methods' => sub { other_methods(\%me) };
subtest 'HEAD' => \&like_get;

subtest 'Redis away, PostgreSQL away' => sub {
    $t->kill9('redis');
    $t->kill9('postgres');
    away();
    $t->start;
    ok($t->wait_for(sub { $t->ops('GET', '/healthz')->{status} == 200 }),
        'and all is well again');
};

subtest 'all of it was seen' => \&all_seen;

$t->finish;
done_testing;
