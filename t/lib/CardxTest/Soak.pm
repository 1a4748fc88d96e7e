package CardxTest::Soak;

# Chaos: clients that use all of cardx and write down what was answered, while
# processes are killed; and the proof afterwards that every answer is true.
# For ci/soak and t/chaos.t.
#
#     my $service = CardxTest::Soak::push_service($folder);   # or none
#     my $soak = CardxTest::Soak->new($t, clients => 4, service => $service);
#     $soak->run(120);
#     for my $line ($soak->faults) { ... }

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

use CardxTest::Life;
use CardxTest::Soak::Book;

my $json = JSON::PP->new->utf8->canonical;

my @workers = qw(api-fast-0 api-fast-1 api-slow-0 api-slow-1 api-miss-0
    api-miss-1 fanout deliver-0 deliver-1 push-0 push-1 media picture);

sub new {
    my ($class, $t, %options) = @_;
    my $dir = "$t->{var}/soak";
    mkdir $dir;
    $t->expect_log(qr/exited on signal 9|terminated by signal 9|SIGKILL/);
    $t->expect_log(qr/the database system|server closed the connection/);
    return bless { t => $t, dir => $dir, clients => 4, killed => {},
        picture => read_file("$CardxTest::ROOT/docs/pictures/anna.jpg"),
        %options }, $class;
}

# A push service with browsers for so many clients; settings() lets cardx call
# it.
sub push_service {
    my ($dir, $clients) = @_;
    require CardxTest::PushService;
    my $service = CardxTest::PushService->new($dir);
    for my $n (1 .. $clients) {
        $service->{at}{"c${n}b$_"} = $service->browser("c${n}b$_") for 1 .. 4;
    }
    return $service->start;
}

sub settings {
    my ($service) = @_;
    return (push_hosts => $service->host, push_ca_file => $service->ca);
}

sub read_file {
    my ($path) = @_;
    open my $in, '<:raw', $path or return '';
    local $/;
    return scalar <$in> // '';
}

# One line at a time is whole, also from several processes.
sub note {
    my ($self, $file, $line) = @_;
    open my $out, '>>', "$self->{dir}/$file" or die "$file: $!";
    syswrite $out, "$line\n";
    close $out;
}

sub lines {
    my ($self, $file) = @_;
    return split /\n/, read_file("$self->{dir}/$file");
}

sub fault { $_[0]->note('faults', $_[1]) }

# --- the parent ------------------------------------------------------------

# The load for so many seconds, with the faults; then all is well again.
sub run {
    my ($self, $seconds, %options) = @_;
    my $t = $self->{t};
    my $end = time + $seconds;
    my @pids = map { $self->client($_) } 1 .. $self->{clients};
    my %due = (redis => time + $seconds * 0.3, postgres => time
        + $seconds * 0.55, cardxd => time + $seconds * 0.8);

    while (time < $end) {
        sleep 0.2 + rand 0.6;
        my ($big) = grep { $due{$_} < time } sort keys %due;
        if ($big) {
            $due{$big} = time + 30;
            $self->strike($big);
        } else {
            $self->strike((@workers, 'nginx worker', 'nginx worker',
                'reload')[rand @workers + 3]);
        }
    }

    kill 'TERM', @pids;
    waitpid $_, 0 for @pids;
    $t->wait_for(sub { $t->ops('GET', '/healthz')->{status} == 200 }, 60)
        or $self->fault('it does not get healthy');
    $t->outbox_empty(90) or $self->fault('the outbox is not emptied');
    return $self;
}

sub strike {
    my ($self, $what) = @_;
    my $t = $self->{t};
    $self->{killed}{$what}++;

    if ($what eq 'reload') {
        $t->strike('nginx', 'HUP');
    } elsif ($what eq 'nginx worker') {
        my @pids = CardxTest::Life::workers($t->pid('nginx'));
        $t->strike('nginx', 'KILL', $pids[rand @pids]) if @pids;
    } elsif ($what =~ /^(?:redis|postgres|cardxd)$/) {
        $t->kill9($what);
        sleep rand 1;
        eval { $t->start; 1 } or $self->fault("$what does not come back: $@");
    } else {
        $t->strike($what, 'KILL');
    }
}

# What `check` says: its exit code and lines.
sub check {
    my ($self) = @_;
    my $t = $self->{t};
    my @as = $> == 0 ? ('setpriv', '--reuid=www-data', '--regid=www-data',
        '--init-groups') : ();
    my $program = "$t->{var}/bin/cardx-fanout";
    $program = "$t->{build}/cardx-fanout" if !-x $program;
    my $output = CardxTest::capture(@as, $program, "$t->{var}/conf/cardx.conf",
        'check');
    return ($? >> 8, $output);
}

# Everything that is not as it must be, a line each; nothing is good.
sub faults {
    my ($self) = @_;
    $self->prove_accounts;
    $self->prove_database;
    return $self->lines('faults');
}

sub counts {
    my ($self) = @_;
    my %sum;
    for my $n (1 .. $self->{clients}) {
        my $journal = $self->journal($n) or next;
        $sum{$_} += $journal->{counts}{$_} for keys %{ $journal->{counts} };
    }
    return \%sum;
}

sub journal {
    my ($self, $n) = @_;
    return eval { $json->decode(read_file("$self->{dir}/journal-$n")) };
}

# --- a client --------------------------------------------------------------

# Its journal: accounts, each with what was answered last ("known"), and what
# was asked for without an answer ("maybe": it may have been done, whole).
sub client {
    my ($self, $n) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;

    my $go = 1;
    $SIG{INT} = 'IGNORE';
    $SIG{TERM} = sub { $go = 0 };
    srand $n + time;
    $self->{t}->connect_anew;
    $self->{n} = $n;
    $self->{left} = [];
    $self->{at_browser} = $self->{service} ? $self->{service}{at} : {};
    $self->{accounts} = [];
    $self->{counts} = {};

    my @acts = map { ($_->[0]) x $_->[1] } (
        [ \&act_register, 1 ], [ \&act_card, 4 ], [ \&act_patch, 16 ],
        [ \&act_key, 8 ], [ \&act_revoke, 5 ], [ \&act_fetch, 20 ],
        [ \&act_refused, 10 ], [ \&act_media, 3 ], [ \&act_thumbnail, 5 ],
        [ \&act_terminal, 3 ], [ \&act_refresh, 2 ], [ \&act_delete, 2 ],
        map { [ CardxTest::Soak::Book->can("act_$_->[0]"), $_->[1] ] }
        [ contact => 6 ], [ note => 8 ], [ forget => 2 ], [ save => 6 ],
        [ updates => 8 ], [ subscribe => 2 ], [ erase => 1 ],
    );
    while ($go) {
        my $act = @{ $self->{accounts} } ? $acts[rand @acts] : \&act_register;
        eval { $act->($self, $self->{accounts}[rand @{ $self->{accounts} }]);
            1 } or $self->fault("client $n: $@");
    }

    open my $out, '>:raw', "$self->{dir}/journal-$n" or POSIX::_exit(1);
    print $out $json->encode({ accounts => [ @{ $self->{accounts} },
        @{ $self->{left} } ], counts => $self->{counts} });
    close $out;
    POSIX::_exit(0);
}

# A call.  Most clients do not give up: the same again, with the same
# Idempotency-Key, while there is no answer.  Some do.
sub call {
    my ($self, $what, $method, $path, $body, %headers) = @_;
    my $tries = rand() < 0.8 ? 60 : 1;
    $headers{'Idempotency-Key'} = "soak-$$-" . ++$self->{calls}
        if $method eq 'POST';
    my $r;
    while ($tries-- > 0) {
        $r = $self->{t}->request($method, $path, $body, \%headers);
        $self->{counts}{asked}++;
        last if $r->{status} < 500
            && !($r->{status} == 409 && $r->{headers}{'retry-after'});
        $self->{counts}{"no_answer"}++;
        sleep 0.1 + rand 0.3;
    }
    $self->{counts}{$what}++ if $r->{status} < 400;
    return $r;
}

sub unanswered { return $_[0]{status} >= 500 || $_[0]{status} == 409 }

# A status that is none of these is a fault.
sub expected {
    my ($self, $what, $r, @statuses) = @_;
    return 1 if grep { $r->{status} == $_ } @statuses;
    return 0 if unanswered($r);
    $self->fault("$what: $r->{status} $r->{body}");
    return 0;
}

sub bearer { return (Authorization => "Bearer $_[0]{token}") }

sub act_register {
    my ($self) = @_;
    return if @{ $self->{accounts} } > 12;
    my $t = $self->{t};
    my $phone = sprintf '+86138%02d%06d', $self->{n}, ++$self->{phones};
    my $r = $self->call('registration', 'POST', '/v1/registrations',
        { phone => $phone, method => 'sms-down' });
    return if !$self->expected('registration', $r, 202);

    # a code that was being sent when the worker died may have gone out or not,
    # and is not sent again
    my $text = $t->sms($phone, 20) or return $self->{counts}{sms_lost}++;
    my ($code) = $text =~ /(?<!\d)(\d{6})(?!\d)/;
    my $v = $self->call('account', 'POST',
        "/v1/registrations/$r->{json}{registration_id}/verify",
        { code => $code, terminal => { name => 'soak' } });
    return if !$self->expected('verify', $v, 200);
    push @{ $self->{accounts} }, { phone => $phone,
        user_id => $v->{json}{user_id}, cards => {}, terminals => {},
        contacts => {}, held => {}, log => {},
        password => $v->{json}{initial_password}, maybe_cards => 0,
        token => $v->{json}{access_token},
        refresh => $v->{json}{refresh_token} };
}

sub any_card {
    my ($account) = @_;
    my @there = grep { !$account->{cards}{$_}{deleted} }
        sort keys %{ $account->{cards} };
    return @there ? $there[rand @there] : undef;
}

sub act_card {
    my ($self, $account) = @_;
    return if keys %{ $account->{cards} } > 8;
    my $r = $self->call('card', 'POST', '/v1/cards', { '@type' => 'Card',
        version => '1.0', name => { full => "Soak $self->{n}" },
        titles => { t => { name => 'new' } } }, bearer($account));
    $account->{maybe_cards}++ if unanswered($r);
    return if !$self->expected('card', $r, 201);
    $account->{cards}{ $r->{json}{card_id} } = { known => 'new', maybe => {},
        keys => {}, media => undef, maybe_media => {} };
}

sub act_patch {
    my ($self, $account) = @_;
    my $id = any_card($account) // return;
    my $card = $account->{cards}{$id};
    my $title = "title $$ " . ++$self->{titles};
    my $r = $self->call('patch', 'PATCH', "/v1/cards/$id",
        { titles => { t => { name => $title } } }, bearer($account));

    # who got no answer may be overtaken, so it stays possible
    $card->{maybe}{$title} = 1 if unanswered($r);
    return if !$self->expected('patch', $r, 200);
    $card->{known} = $title;
}

sub act_key {
    my ($self, $account) = @_;
    my $id = any_card($account) // return;
    my $card = $account->{cards}{$id};
    return if keys %{ $card->{keys} } > 30;
    my $r = $self->call('key', 'POST', "/v1/cards/$id/keys", { ttl => 86400,
        rand() < 0.5 ? () : (fields => ['titles']) }, bearer($account));
    return if !$self->expected('key', $r, 201);
    $card->{keys}{ $r->{json}{key_id} } = { key => $r->{json}{key},
        thumbnail => $r->{json}{thumbnail}, state => 'good' };
}

sub any_key {
    my ($card) = @_;
    my @good = grep { $card->{keys}{$_}{state} eq 'good' }
        sort keys %{ $card->{keys} };
    return @good ? $good[rand @good] : undef;
}

sub act_revoke {
    my ($self, $account) = @_;
    my $id = any_card($account) // return;
    my $card = $account->{cards}{$id};
    my $key_id = any_key($card) // return;
    my $r = $self->call('revocation', 'DELETE', "/v1/cards/$id/keys/$key_id",
        undef, bearer($account));
    $card->{keys}{$key_id}{state} = 'maybe' if unanswered($r);

    # revoked, but not answered, and then asked for again: 404 says so too
    return if !$self->expected('revocation', $r, 204, 404);
    $card->{keys}{$key_id}{state} = 'revoked';
    $self->note('revoked', "/c/$id $card->{keys}{$key_id}{key}");
}

sub act_fetch {
    my ($self, $account) = @_;
    my $id = any_card($account) // return;
    my $card = $account->{cards}{$id};
    my $key_id = any_key($card) // return;
    my $r = $self->call('fetch', 'GET', "/c/$id", undef,
        'Cardx-Key' => $card->{keys}{$key_id}{key});
    return if !$self->expected("fetch $id", $r, 200);
    my $title = $r->{json}{titles}{t}{name} // '';
    $self->fault("fetch $id: $title, not $card->{known}")
        if $title ne $card->{known} && !$card->{maybe}{$title};
}

# What somebody was told is denied never opens again.
sub act_refused {
    my ($self) = @_;
    for (['revoked', 'Cardx-Key', '', 404], ['signed_out', 'Authorization',
        'Bearer ', 401]) {
        my ($file, $header, $before, $status) = @$_;
        my @all = $self->lines($file) or next;
        my ($path, $secret) = split ' ', $all[rand @all];
        my $r = $self->{t}->request('GET', $path, undef,
            { $header => $before . $secret });
        $self->{counts}{asked}++;
        $self->{counts}{refused}++ if $r->{status} == $status;
        $self->fault("$file: $path is answered $r->{status}")
            if $r->{status} != $status && $r->{status} < 500;
    }
}

sub act_media {
    my ($self, $account) = @_;
    my $id = any_card($account) // return;
    my $card = $account->{cards}{$id};

    # sound is kept as it is, so that it can be compared
    my $sound = 'ID3' . "\x03\0\0\0\0\0\0" . join '',
        map { chr rand 256 } 1 .. 700;
    $sound .= "\0" x rand 600000;
    my $r = $self->call('medium', 'PUT', "/v1/cards/$id/media/sound", $sound,
        bearer($account), 'Content-Type' => 'audio/mpeg');
    my $digest = sha256_hex($sound);
    $card->{maybe_media}{$digest} = 1 if unanswered($r);
    if ($self->expected('medium', $r, 200, 201)) {
        $card->{media} = $digest;
    }
    return if rand() < 0.5;
    $self->expected('photo', $self->call('photo', 'PUT',
        "/v1/cards/$id/media/photo", $self->{picture}, bearer($account),
        'Content-Type' => 'image/jpeg'), 200, 201);
}

sub act_thumbnail {
    my ($self, $account) = @_;
    my $id = any_card($account) // return;
    my $key_id = any_key($account->{cards}{$id}) // return;
    my $thumbnail = $account->{cards}{$id}{keys}{$key_id}{thumbnail} // return;

    # that of an earlier title is gone
    $self->expected('thumbnail', $self->call('thumbnail', 'GET', $thumbnail),
        200, 404);
}

sub act_terminal {
    my ($self, $account) = @_;
    my $r = $self->call('session', 'POST', '/v1/sessions', { phone =>
        $account->{phone}, password => $account->{password},
        terminal => { name => 'second' } });
    return if $r->{status} == 429 || !$self->expected('session', $r, 200);
    my ($id, $token) = @{ $r->{json} }{qw(terminal_id access_token)};
    $account->{terminals}{$id} = 'signed in';
    $r = $self->call('me', 'GET', '/v1/me', undef,
        Authorization => "Bearer $token");
    $self->expected('me', $r, 200);
    return if rand() < 0.3;
    $r = $self->call('sign_out', 'DELETE', "/v1/me/terminals/$id", undef,
        bearer($account));
    $account->{terminals}{$id} = 'maybe' if unanswered($r);
    return if !$self->expected('sign out', $r, 204);
    $account->{terminals}{$id} = 'signed out';
    $self->note('signed_out', "/v1/me $token");
}

sub act_refresh {
    my ($self, $account) = @_;
    my $r = $self->call('refresh', 'POST', '/v1/sessions/refresh',
        { refresh_token => $account->{refresh} });
    return if !$self->expected('refresh', $r, 200);
    $account->{token} = $r->{json}{access_token};
    $account->{refresh} = $r->{json}{refresh_token};
}

sub act_delete {
    my ($self, $account) = @_;
    return if keys %{ $account->{cards} } < 3;
    my $id = any_card($account) // return;
    my $card = $account->{cards}{$id};
    my $r = $self->call('deletion', 'DELETE', "/v1/cards/$id", undef,
        bearer($account));
    $card->{deleted} = 'maybe' if unanswered($r);
    return if !$self->expected('deletion', $r, 204, 404);
    $card->{deleted} = 'yes';
    $self->note('revoked', "/c/$id $_->{key}") for values %{ $card->{keys} };
}

# --- the proof -------------------------------------------------------------

# Rows of a statement as arrays; no value has a | in it.
sub rows {
    my ($self, $sql) = @_;
    return map { [split /\|/, $_, -1] } split /\n/, $self->{t}->psql($sql);
}

# Every answer against PostgreSQL.
sub prove_accounts {
    my ($self) = @_;
    my %cards = map { $_->[0] => $_ } $self->rows("select card_id, user_id,
        deleted_at is not null, card->'titles'->'t'->>'name' from cardx.cards");
    my %keys = map { $_->[0] => $_ } $self->rows('select key_id, card_id,
        revoked_at is not null from cardx.card_keys');
    my %terminals = map { $_->[0] => $_->[1] } $self->rows('select terminal_id,
        signed_out_at is not null from cardx.terminals');
    my %media = map { $_->[0] => $_->[1] } $self->rows("select m.card_id,
        encode(sha256(string_agg(c.data, '' order by c.seq)), 'hex')
        from cardx.media m join cardx.media_chunks c using (media_id)
        where m.kind = 'sound' and m.replaced_at is null group by 1");
    my %of;
    $of{ $_->[1] }++ for values %cards;

    for my $n (1 .. $self->{clients}) {
        my $journal = $self->journal($n)
            or $self->fault("client $n left no journal");
        for my $account (@{ $journal->{accounts} }) {
            next if $account->{erased}
                && CardxTest::Soak::Book::prove_erased($self, $account);
            CardxTest::Soak::Book::prove_book($self, $account);
            $self->prove_account($account, \%cards, \%keys, \%media);
            my $there = $of{ $account->{user_id} } // 0;
            my $answered = keys %{ $account->{cards} };
            $self->fault("$account->{user_id}: $there cards, $answered made")
                if $there < $answered
                || $there > $answered + $account->{maybe_cards};
            for my $id (sort keys %{ $account->{terminals} }) {
                my $state = $account->{terminals}{$id};
                my $is = $terminals{ $id + 0 } // 'none';
                $self->fault("terminal $id: $is, $state") if $state ne 'maybe'
                    && $is ne ($state eq 'signed out' ? 't' : 'f');
            }
        }
    }
}

sub prove_account {
    my ($self, $account, $cards, $keys, $media) = @_;
    for my $id (sort keys %{ $account->{cards} }) {
        my $card = $account->{cards}{$id};
        my $row = $cards->{$id} // [];
        my (undef, $user, $deleted, $title) = @$row;

        if (!defined $user || $user ne $account->{user_id}) {
            $self->fault("card $id was answered, and is not there");
            next;
        }
        my $told = $card->{deleted} // 'no';
        $self->fault("card $id: deleted is $deleted, told was $told")
            if $told ne 'maybe' && $deleted ne ($told eq 'yes' ? 't' : 'f');
        next if $deleted eq 't';

        $self->fault("card $id: $title, answered was $card->{known}")
            if $title ne $card->{known} && !$card->{maybe}{$title};
        my $digest = $media->{$id};
        $self->fault("card $id: its sound is not what was answered")
            if defined $card->{media} && ($digest // '') ne $card->{media}
            && !$card->{maybe_media}{ $digest // '' };

        for my $key_id (sort keys %{ $card->{keys} }) {
            my $state = $card->{keys}{$key_id}{state};
            my $revoked = ($keys->{$key_id} // [])->[2] // 'none';
            $self->fault("key $key_id: revoked is $revoked, told was $state")
                if $state ne 'maybe'
                && $revoked ne ($state eq 'revoked' ? 't' : 'f');
        }
    }
}

# Nothing in PostgreSQL is half done.
sub prove_database {
    my ($self) = @_;
    my %none = (
        'media whose bytes are not all there' => "select count(*)
            from cardx.media m where m.bytes <> coalesce((
                select sum(length(c.data)) from cardx.media_chunks c
                where c.media_id = m.media_id), 0)",
        'accounts without a terminal' => 'select count(*) from cardx.users u
            where u.erased_at is null and not exists (
                select from cardx.terminals t where t.user_id = u.user_id)',
        'two accounts with one number' => 'select count(*) from (select 1
            from cardx.users where phone is not null
            group by phone having count(*) > 1) n',
        'tokens of terminals that are signed out' => 'select count(*)
            from cardx.access_tokens a join cardx.terminals t
            using (terminal_id) where t.signed_out_at is not null',
        'rows in the outbox' => 'select count(*) from cardx.outbox',
    );
    for my $what (sort keys %none) {
        my $n = eval { $self->{t}->psql($none{$what}) } // $@;
        $self->fault("$what: $n") if $n ne '0';
    }
}

1;
