#!/usr/bin/perl
# docs/openapi.yaml says what the running server does: every call, every status
# of each, nothing besides.  Contacts and Web Push: t/openapi_contacts.t.

use strict;
use utf8;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::Documented;
use CardxTest::Events;
use CardxTest::Media;
use CardxTest::OpenAPI;
use POSIX ();

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

about(qw(registration account cards keys media fetching changes operation));

my $PHONE = number();
my ($account, %me, $password);


subtest 'registering' => sub {
    my @wrong = ([{ method => 'sms-down' }, 'invalid_phone'],
        [{ phone => $PHONE }, 'invalid_method'],
        [{ phone => $PHONE, method => 'pigeon' }, 'invalid_method'],
        [{ phone => $PHONE, method => 'sms-down', via => 'x' }, 'invalid_via']);
    call(startRegistration => "422 $_->[1]", {}, $_->[0]) for @wrong;
    my ($registration, $code) = registration($PHONE);
    call(startRegistration => '429 rate_limited', {}, { phone => $PHONE,
        method => 'sms-down' });

    verify('422 invalid_code', $registration, '12345');
    verify('422 invalid_terminal', $registration, $code, terminal => undef);
    verify('422 invalid_password', $registration, $code, password => 7);
    verify('422 invalid_start_fresh', $registration, $code, start_fresh => 7);
    verify('422 wrong_code', $registration, wrong($code));
    $account = verify(200, $registration, $code);
    ok($account->{initial_password}, 'with a password');
    $password = $account->{initial_password};
    %me = (token => $account->{access_token});
    verify('409 registration_finished', $registration, $code);
    verify('404 not_found', { registration_id => 'A' x 28 }, $code);

    ($registration, $code) = registration(number());
    verify('422 wrong_code', $registration, wrong($code)) for 1 .. 5;
    verify('429 too_many_tries', $registration, $code);
    ($registration, $code) = registration(number());
    $t->psql("update cardx.registrations set expires_at = now()
        where registration_id = '$registration->{registration_id}'");
    verify('410 registration_expired', $registration, $code);
};


subtest 'a number that has an account' => sub {
    my ($registration, $code) = registration($PHONE);
    verify('409 account_exists', $registration, $code);
    my $me = call(getAccount => 200, \%me);
    is(scalar @{ $me->{approvals} }, 1, 'it is asked');
    my %approval = (%me, approval_id => $me->{approvals}[0]{approval_id});
    call(answerApproval => '422 invalid_approve', \%approval, {});
    call(answerApproval => '404 not_found', { %me, approval_id => 'A' x 28 },
        { approve => \1 });
    call(answerApproval => 204, \%approval, { approve => \0 });
    call(answerApproval => '409 approval_closed', \%approval,
        { approve => \1 });
    verify('403 approval_refused', $registration, $code);
    verify('403 wrong_password', $registration, $code, password => 'wrong');
    $t->psql('delete from cardx.password_tries');

    $t->psql("insert into cardx.terminals (terminal_id, user_id, name)
        select 100000000 + n, '$account->{user_id}', 'x'
        from generate_series(1, 19) n");
    verify('409 too_many_terminals', $registration, $code,
        password => $password);
    my %sign_in = (phone => $PHONE, password => $password,
        terminal => { name => 'x' });
    call(signIn => '409 too_many_terminals', {}, \%sign_in);
    $t->psql("delete from cardx.terminals where name = 'x'");
    verify(200, $registration, $code, password => $password);

    my $lost = number();
    my $old = $t->register($lost);
    ($registration, $code) = registration($lost);
    ok(verify(200, $registration, $code, start_fresh => \1)->{new_account},
        'a new account');
    $me = call(getAccount => 200, { token => $old->{access_token} });
    is($me->{notices}[0]{kind}, 'phone_lost', 'the old one is told');
};


subtest 'signing in' => sub {
    my %sign_in = (phone => $PHONE, password => $password,
        terminal => { name => 'browser' });
    my $second = call(signIn => 200, {}, \%sign_in);
    for my $wrong (['phone', '12'], ['password', undef], ['terminal', {}]) {
        call(signIn => "422 invalid_$wrong->[0]", {},
            { %sign_in, $wrong->[0] => $wrong->[1] });
    }
    call(refreshTokens => 200, {},
        { refresh_token => $second->{refresh_token} });
    call(refreshTokens => '401 unauthorized', {},
        { refresh_token => 'A' x 76 });
    call(refreshTokens => '422 invalid_refresh_token', {}, {});

    $second = call(signIn => 200, {}, \%sign_in);
    my $page = call(listTerminals => 200, { %me, limit => 1 });
    call(listTerminals => 200, { %me, limit => 100,
        cursor => $page->{next} });
    call(signOutTerminal => 204, { %me,
        terminal_id => $second->{terminal_id} });
    call(signOutTerminal => '404 not_found', { %me,
        terminal_id => 100000000 });

    call(changePassword => 204, \%me, { old => $password,
        new => 'correct horse' });
    call(changePassword => '422 invalid_new', \%me, { old => 'correct horse',
        new => 'short' });
    call(changePassword => '422 invalid_old', \%me, { new => 'long enough' });
    call(changePassword => '403 wrong_password', \%me, { old => 'wrong',
        new => 'long enough' }) for 1 .. 5;
    call(signIn => '401 wrong_password', {}, { %sign_in,
        password => 'wrong' }) for 1 .. 5;
    call(signIn => '429 too_many_tries', {}, \%sign_in);
    call(changePassword => '429 too_many_tries', \%me,
        { old => 'correct horse', new => 'long enough' });
    my ($registration, $code) = registration($PHONE);
    verify('403 wrong_password', $registration, $code, password => 'wrong')
        for 1 .. 5;
    verify('429 too_many_tries', $registration, $code, password => $password);
    $t->psql('delete from cardx.password_tries');
};


subtest 'changes' => sub {
    my $first = call(getUpdates => 200, \%me);
    my %since = (%me, since => $first->{token});
    call(getUpdates => 204, \%since);
    call(getUpdates => 200, { %me, with => 'objects' });
    call(getUpdates => '410 unknown_token', { %me, since => 'x' });
    call(getUpdates => '422 invalid_wait', { %since, wait => 56 });
    call(getUpdates => '422 invalid_with', { %since, with => 'x' });
    # this one has no end
    my $stream = CardxTest::Events->open($t, token => $me{token});
    as_documented('getEvents 200', $operations{getEvents}, {
        status => $stream->{status}, body => 'id: x',
        headers => { map { /^([\w-]+): (.*?)\r?$/ ? (lc $1 => $2) : () }
            split /\n/, $stream->{head} } });
    $last{getEvents} = [{ %me }];
    $stream->close;
    call(drawTicket => 200, \%me);
    call(drawTicket => 200, { %me, 'Idempotency-Key' => 'ticket' });
    call(drawTicket => '422 idempotency_key_reused',
        { %me, 'Idempotency-Key' => 'ticket' }, 'another body');
};


my %gateway = (secret => $t->{sms_secret});

# A message from a phone.
sub message {
    my ($expected, $phone, $text, %more) = @_;
    return call(receiveMessage => $expected, { %gateway, from =>
        substr($phone, 1), to => '13013', text => $text, %more });
}

subtest 'a message from the phone, and reports' => sub {
    my $phone = number();
    my $started = call(startRegistration => 202, {}, { phone => $phone,
        method => 'sms-up' });
    my $registration = { registration_id => $started->{registration_id} };
    verify('409 not_yet', $registration, undef);
    verify('422 invalid_code', $registration, '123456');
    message('403 wrong_secret', $phone, $started->{text}, secret => 'x');
    message("422 invalid_$_", $phone, $started->{text}, $_ => 'x' x 2000)
        for qw(from to text);
    message(200, $phone, $started->{text});
    verify(200, $registration, undef);

    my $sms = $t->psql('select sms_id from cardx.sms limit 1');
    my %report = (%gateway, id => $sms, type => '1');
    call(reportMessage => 200, \%report);
    call(reportMessage => '422 invalid_type', { %report, type => '3' });
    call(reportMessage => '422 invalid_id', { %report, id => 'x' x 99 });
    call(reportMessage => '404 not_found', { %report, id => 'A' x 28 });
    call(reportMessage => '403 wrong_secret', { %report, secret => 'x' });
};


subtest 'another number' => sub {
    my $new = $t->register(number());
    my %new = (token => $new->{access_token});
    my $phone = number();
    $t->forget_limits;
    call(startPhoneChange => "422 invalid_$_->[0]", \%new, { phone => $phone,
        method => 'sms-down', @$_ }) for ['phone', 'x'], ['method', 'x'];
    my %down = (phone => $phone, method => 'sms-down');
    my $started = call(startPhoneChange => 202, \%new, \%down);
    call(startPhoneChange => '429 rate_limited', \%new, \%down);
    my ($code) = ($t->sms($phone) // '') =~ /(?<!\d)(\d{6})(?!\d)/;
    my %change = (%new, rebind_id => $started->{rebind_id});
    my %proof = (code => $code, password => $new->{initial_password});

    for my $wrong ([code => 'x'], [password => 7], [start_fresh => 7]) {
        call(verifyPhoneChange => "422 invalid_$wrong->[0]", \%change,
            { %proof, @$wrong });
    }
    call(verifyPhoneChange => '422 wrong_code', \%change, { %proof,
        code => wrong($code) });
    call(verifyPhoneChange => '403 wrong_password', \%change, { %proof,
        password => 'wrong' });
    call(verifyPhoneChange => '404 not_found', { %change,
        rebind_id => 'A' x 28 }, \%proof);
    call(verifyPhoneChange => 200, \%change, \%proof);

    my $card_id = call(createCard => 201, \%new, { '@type' => 'Card', version
        => '1.0', phones => { x => { number => $phone } } })->{card_id};
    $t->forget_limits;
    $started = call(startPhoneChange => 202, \%new, { phone => $PHONE,
        method => 'sms-up' });
    %change = (%new, rebind_id => $started->{rebind_id});
    %proof = (password => $new->{initial_password});
    call(verifyPhoneChange => '409 not_yet', \%change, \%proof);
    message(200, $PHONE, $started->{text});
    call(verifyPhoneChange => '409 account_exists', \%change, \%proof);
    $t->psql("update cardx.registrations set expires_at = now()
        where registration_id = '$started->{rebind_id}'");
    call(verifyPhoneChange => '410 registration_expired', \%change, \%proof);

    $t->forget_limits;
    $phone = number();
    $started = call(startPhoneChange => 202, \%new, { phone => $phone,
        method => 'sms-up' });
    %change = (%new, rebind_id => $started->{rebind_id});
    message(200, $phone, $started->{text});
    $t->signal('redis', 'STOP');
    call(verifyPhoneChange => '503 not_yet_in_force', \%change, \%proof);
    $t->thaw_redis;
    $t->wait_for(sub { $t->post("/v1/me/phone/$started->{rebind_id}/verify",
        \%proof, \%new)->{status} == 200 });
    call(verifyPhoneChange => 200, \%change, \%proof);

    $phone = number();
    call(startPhoneChange => 202, \%new, { phone => $phone, method =>
        'sms-up' });
    $t->psql("update cardx.users set phone = '$phone' where user_id =
        '$new->{user_id}'");
    call(verifyPhoneChange => '409 registration_finished', \%change,
        \%proof);
    call(verifyPhoneChange => '403 wrong_password', \%change, {
        password => 'wrong' }) for 1 .. 4;
    call(verifyPhoneChange => '429 too_many_tries', \%change, \%proof);
    $t->psql('delete from cardx.password_tries');
    call(deleteCard => 204, { %new, card_id => $card_id });
};


subtest 'an account is exported' => sub {
    call(exportAccount => 200, \%me);
};


subtest 'an account is erased' => sub {
    my $account = $t->register('+4915150000');
    my %gone = (token => $account->{access_token});
    call(deleteAccount => '422 invalid_password', \%gone, {});
    for (1 .. 5) {
        call(deleteAccount => '403 wrong_password', \%gone,
            { password => 'wrong' });
    }
    call(deleteAccount => '429 too_many_tries', \%gone,
        { password => 'wrong' });
    $t->psql('delete from cardx.password_tries');
    call(deleteAccount => 204, \%gone,
        { password => $account->{initial_password} });
    call(getAccount => '401 unauthorized', \%gone);

    # what follows asks again as somebody who is still there
    $last{deleteAccount}[0] = {%me};
};


my $card = { '@type' => 'Card', version => '1.0',
    name => { full => 'Anna Íto' }, titles => { t => { name => 'Engineer' } },
    phones => { w => { number => '+4930111' }, h => { number => '+4930222' } },
    'example.com:shoe' => 38 };
my ($id, %my);

subtest 'cards' => sub {
    $id = call(createCard => 201, { %me, type => 'application/jscontact+json' },
        $card)->{card_id};
    %my = (%me, card_id => $id);
    my $other = call(createCard => 201, \%me, $card)->{card_id};
    call(createCard => '422 invalid_card', \%me, { name => 'x' });
    my $page = call(listCards => 200, { %me, limit => 1 });
    call(listCards => 200, { %me, cursor => $page->{next} });

    $t->wait_for(sub { call(getCard => 200, \%my)->{thumbnail} });
    my ($etag) = $t->get("/v1/cards/$id", undef, \%me)->{headers}{etag};
    call(getCard => 304, { %my, 'If-None-Match' => $etag });
    call(replaceCard => 200, { %my, 'If-Match' => $etag },
        { %$card, kind => 'individual' });
    call(replaceCard => '422 invalid_card', \%my, { phones => [] });
    call(patchCard => 200, \%my, { titles => { t => { name => 'Head' } },
        kind => undef });
    call(patchCard => '422 invalid_card', \%my, { '@type' => 'Group' });
    my %stale = (%my, 'If-Match' => '"1"');
    call(replaceCard => '412 version_conflict', \%stale, $card);
    call(patchCard => '412 version_conflict', \%stale, {});
    call(deleteCard => '412 version_conflict', { %stale, 'If-Match' => '"0"' });

    call(changeAccount => 200, \%me, { nickname => 'Zoë', locale => 'de',
        own_card_id => $other });
    for my $wrong ([nickname => "a\nb"], [locale => 'x'],
        [own_card_id => 'x']) {
        call(changeAccount => "422 invalid_$wrong->[0]", \%me, { @$wrong });
    }
    call(changeAccount => '422 not_writable', \%me, { phone => $PHONE });
    call(changeAccount => 200, \%me, { match => { on => \0,
        fields => ['phones', 'emails'] } });
    call(changeAccount => 200, \%me, { match => undef });
    call(changeAccount => '422 invalid_match', \%me, { match => 1 });
    call(changeAccount => '422 invalid_fields', \%me,
        { match => { fields => [7] } });

    ok(call(putOwnCard => 200, \%me, { %$card, updated =>
        '2001-01-01T00:00:00Z' })->{unchanged}, 'an older copy');
    ok(!call(putOwnCard => 200, \%me, { %$card, updated =>
        '2101-01-01T00:00:00Z' })->{unchanged}, 'a newer one');
    call(putOwnCard => '422 invalid_card', \%me, $card);
    call(putOwnCard => '412 version_conflict', { %me, 'If-Match' => '"1"' },
        { %$card, updated => '2102-01-01T00:00:00Z' });
    call(deleteCard => 204, { %me, card_id => $other }) for 1 .. 2;

    my $new = $t->register(number());
    my %new = (token => $new->{access_token});
    call(putOwnCard => 201, \%new, $card);
    $t->psql("insert into cardx.cards (card_id, user_id, card)
        select 'x' || n, '$new->{user_id}', '{}'
        from generate_series(1, 99) n");
    call(createCard => '409 too_many_cards', \%new, $card);
    $t->psql("delete from cardx.cards where card_id like 'x%'");
};


my $film = mp4(1_200_000);

subtest 'media and thumbnails' => sub {
    my @media = (['photo', 'image/jpeg', jpeg()], ['logo', 'image/png',
        png(8, 8)], ['sound', 'audio/x-wav', wav(4000)],
        ['video', 'video/mp4', $film]);
    for my $medium (@media) {
        my ($kind, $type, $bytes) = @$medium;
        my %it = (%my, kind => $kind);
        call(putMedium => 201, { %it, type => $type }, $bytes);
        call(putMedium => 200, { %it, type => $type }, $bytes);
        call(getMedium => 200, \%it);
    }
    my %sound = (%my, kind => 'sound');
    my $r = $t->get("/v1/cards/$id/media/sound", undef, \%me);
    my $tag = $r->{headers}{etag};
    call(getMedium => 206, { %sound, Range => 'bytes=0-9',
        'If-Range' => $tag });
    call(getMedium => 200, { %sound, Range => 'bytes=0-9',
        'If-Range' => '"x"' });
    call(getMedium => 304, { %sound, 'If-None-Match' => $tag });
    call(getMedium => '416 invalid_range', { %sound,
        Range => 'bytes=9999-' });
    my %photo = (%my, kind => 'photo', type => 'image/png');
    my %own = (%my, type => 'image/png');
    call(putThumbnail => 200, \%own, png(480, 270));
    for my $case (['putMedium', \%photo], ['putThumbnail', \%own]) {
        my ($put, $where) = @$case;
        call($put => '422 empty', $where, '');
        call($put => '422 invalid_picture', $where, 'x');
        call($put => '415 unsupported_type', { %$where,
            type => 'image/gif' }, 'GIF89a');
        call($put => '413 too_large', $where, "\0" x 5_242_881);
        call($put => '412 version_conflict', { %$where, 'If-Match' => '"1"' },
            png(4, 4));
    }
    call(putMedium => '415 unsupported_type', { %sound,
        type => 'audio/mpeg' }, wav(10));
    call(deleteThumbnail => '412 version_conflict', { %my,
        'If-Match' => '"1"' });
    call(deleteThumbnail => 204, \%my) for 1 .. 2;
    my %logo = (%my, kind => 'logo');
    call(deleteMedium => '412 version_conflict', { %logo,
        'If-Match' => '"1"' });
    call(deleteMedium => 204, \%logo) for 1 .. 2;
    call(getMedium => '404 not_found', \%logo);
};


my ($key, $few);

subtest 'keys and codes' => sub {
    $key = call(drawKey => 201, \%my);
    $few = call(drawKey => 201, \%my, { ttl => 3600,
        fields => ['titles', 'phones/w'] });
    call(drawKey => '422 invalid_ttl', \%my, { ttl => 0 });
    call(drawKey => '422 invalid_fields', \%my, { fields => 'titles' });
    my $page = call(listKeys => 200, { %my, limit => 1 });
    call(listKeys => 200, { %my, cursor => $page->{next} });

    my %key = (%my, key_id => call(drawKey => 201, \%my)->{key_id});
    call(revokeKey => '422 invalid_grants', { %key, grants => 'yes' });
    call(revokeKey => 204, { %key, grants => 'true' });
    call(revokeKey => 204, \%key);
    call(revokeKey => '404 not_found', { %key, key_id => 'A' x 28 });
    call(listKeys => 200, \%my);

    for my $form (qw(Svg Png)) {
        my $code = "getOfflineCode$form";
        call($code => 200, \%my);
        call($code => 200, { %my, fields => ['titles', 'phones/w'] });
        call($code => '422 invalid_fields', { %my, fields => ['/'] });
    }
    call(getOfflineCodePng => 200, { %my, size => 800 });
    call(getOfflineCodePng => '422 invalid_size', { %my, size => 1 });
    $t->patch("/v1/cards/$id", { notes => { n => { note => 'x' x 1100 } } },
        \%me);
    call("getOfflineCode$_" => '422 too_large_for_code', \%my)
        for qw(Svg Png);
    $t->patch("/v1/cards/$id", { notes => undef }, \%me);

    $t->psql("insert into cardx.card_keys (key_id, card_id, user_id, key_hash,
        view, expires_at) select 'k' || n, card_id, user_id,
        decode(lpad(to_hex(n), 64, '0'), 'hex'), '', now() + interval '1 hour'
        from cardx.cards, generate_series(1, 1000) n where card_id = '$id'");
    call(drawKey => '409 too_many_keys', \%my);
    $t->psql("delete from cardx.card_keys where key_id ~ '^k[0-9]{1,4}\$'");
};


subtest 'fetching' => sub {
    my %whole = (card_id => $id, key => $key->{key});
    my %some = (card_id => $id, k => lc $few->{key});
    my %none = (card_id => $id, k => 'A' x 26);
    my $html = { Accept => 'text/html' };

    for my $where ('at the edge', 'at a worker') {
        my $again = sub {
            $t->redis('DEL', "cardx:card:{$id}") if $where =~ /worker/;
            return @_;
        };
        my $fetched = call(fetchCard => 200, { $again->(%whole) });
        is($fetched->{media}{'cardx-photo'}{kind}, 'photo', $where);
        call(fetchCard => 200, { $again->(%some) });
        my $tag = $t->get($key->{link})->{headers}{etag};
        call(fetchCard => 304, { $again->(%whole, 'If-None-Match' => $tag) });
        call(fetchCard => '404 key_refused', { $again->(%none) });
        for my $kind (qw(photo sound video)) {
            my %it = (%whole, kind => $kind);
            call(fetchMedium => 200, { $again->(%it) });
            call(fetchMedium => 206, { $again->(%it, Range => 'bytes=0-9') });
            my $tag = $t->get("/c/$id/$kind?k=$key->{key}")->{headers}{etag};
            call(fetchMedium => 304, { $again->(%it, 'If-None-Match' =>
                $tag) });
        }
        call(fetchMedium => 416, { $again->(%whole, kind => 'video',
            Range => "bytes=$_-") }) for 1_200_000, 9_999_999;
        call(fetchMedium => '404 key_refused', { $again->(%whole,
            kind => 'logo') });
    }
    for my $parameters ($html, { Accept => 'text/vcard' },
        { Accept => 'text/vcard', version => '4.0' }) {
        call(fetchCard => 200, { %whole, %$parameters });
    }
    call(fetchCard => 404, { %none, %$html });

    call(downloadVcard => 200, \%whole);
    call(downloadVcard => 200, { %some, version => '4.0' });
    my $tag = $t->get("/c/$id.vcf?k=$key->{key}")->{headers}{etag};
    call(downloadVcard => 304, { %whole, 'If-None-Match' => $tag });
    call(downloadVcard => '404 key_refused', \%none);

    my %thumbnail = (thumbnail_id => $key->{thumbnail} =~ s{^/t/}{}r);
    for (1 .. 2) {
        call(getThumbnail => 200, \%thumbnail);
        call(getThumbnail => 304, { %thumbnail,
            'If-None-Match' => "\"$thumbnail{thumbnail_id}\"" });
        $t->redis('DEL', "cardx:thumb:$thumbnail{thumbnail_id}");
    }
    call(getThumbnail => '404 key_refused', { thumbnail_id => 'A' x 28 });
    for my $follow (qw(followCode followCodeInCapitals)) {
        call($follow => 302, { key => $key->{key} });
        call($follow => '404 key_refused', { key => 'A' x 26 });
        call($follow => 404, { key => 'A' x 26, %$html });
    }
};


subtest 'operation' => sub {
    call(checkHealth => 200);
    call(getMetrics => 200);
    call(getWorkerMetrics => 200);
};

# --- what holds for many ---------------------------------------------------

subtest 'for whom, of what' => \&for_whom;


subtest 'an Idempotency-Key' => sub {
    my %once = (%my, 'Idempotency-Key' => 'once');
    my $first = call(drawKey => 201, \%once, { ttl => 60 });
    is_deeply(call(drawKey => 201, \%once, { ttl => 60 }), $first,
        'the same answer');
    call(drawKey => '422 idempotency_key_reused', \%once, { ttl => 61 });

    # somebody else holds the card, so the first call has to wait
    my $waits = sub {
        my ($how) = @_;
        return $t->wait_for(sub { $t->psql("select count(*)
            from pg_stat_activity where $how") });
    };
    open my $held, '-|', 'psql', '-XAtq', '-h', $t->var . '/pgrun', '-U',
        'postgres', '-d', 'cardx', '-c', "select 1 from cardx.cards
        where card_id = '$id' for update; select pg_sleep(2)" or die "psql: $!";
    $waits->("wait_event = 'PgSleep'");
    my $path = "/v1/cards/$id/keys";
    my %slow = ('Idempotency-Key' => 'slow');
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $t->{http} = HTTP::Tiny->new(verify_SSL => 1,
            SSL_options => { SSL_ca_file => $t->ca });
        POSIX::_exit($t->post($path, {}, { %me, %slow })->{status} != 201);
    }
    ok($waits->("wait_event_type = 'Lock'"), 'one waits');
    my $r = $t->post($path, {}, { %me, %slow });
    is("$r->{status} $r->{json}{code}", '409 still_running', 'one is told so');
    ok($r->{headers}{'retry-after'}, 'and when to ask again');
    as_documented('still_running', $operations{drawKey}, $r);
    waitpid $pid, 0;
    is($?, 0, 'the first is answered');
    close $held;
};


subtest 'whatever the call is' => sub {
    other_methods(\%me);
    refused('404 not_found', 'listCards', 'GET', '/v1/nothing', undef,
        \%me);
    refused('404 not_found', 'listCards', 'GET', '/');
    refused('413 too_large', 'getAccount', 'GET', '/v1/me', 'x' x 2_000_000,
        \%me);
    refused('400 bad_request', 'getAccount', 'GET', '/v1/%zz');
    refused('414 uri_too_long', 'getAccount', 'GET', '/v1/' . 'x' x 9_000);
};


subtest 'HEAD' => \&like_get;


# All that was done is done again, without what it needs.
subtest 'Redis away, PostgreSQL away' => sub {
    my $new = call(drawKey => 201, \%my);
    $t->signal('redis', 'STOP');
    call(revokeKey => '503 not_yet_in_force', { %my,
        key_id => $new->{key_id} });
    call(patchCard => '503 not_yet_in_force', \%my, { titles => undef });
    call(checkHealth => 503);
    $t->thaw_redis;
    $t->wait_for(sub { $t->ops('GET', '/healthz')->{status} == 200 });

    $t->kill9('redis');
    $t->kill9('postgres');
    away();
    call(checkHealth => 503);
    call(getMetrics => 200);
    call(getWorkerMetrics => 200);
    message('503 unavailable', $PHONE, 'hello');
    call(reportMessage => '503 unavailable', @{ $last{reportMessage} });
    $t->start;
    ok($t->wait_for(sub { $t->ops('GET', '/healthz')->{status} == 200 }),
        'and all is well again');
};

subtest 'all of it was seen' => sub {
    my $codes = all_seen();
    my %others;
    for my $operation (grep { $_->{operation}{tags}[0]
        =~ /^(?:contacts|holders|push)$/ } values %operations) {
        my $responses = $operation->{operation}{responses};
        $others{ (split / /)[1] } = 1
            for map { pairs($_, $responses->{$_}) } keys %$responses;
    }
    good('every code, here or in t/openapi_contacts.t',
        grep { !$codes->{$_} && !$others{$_} && !$unseen{$_} }
        @{ $document->{components}{schemas}{ProblemCode}{enum} });
};

$t->finish;
done_testing;
