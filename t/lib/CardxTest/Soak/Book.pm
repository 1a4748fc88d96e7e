package CardxTest::Soak::Book;

# The part of the chaos that is about people: address books, what they are told
# of changes, pushes, accounts that are erased.  Functions of CardxTest::Soak's
# object; the journal of an account has besides
#
#     contacts   {id => {known, maybe, deleted}}     notes of the own entries
#     held       {id => card_id}                     saved with a key
#     since, log                                     what its log has told
#     browser                                        where its pushes arrive
#     erased     yes, maybe

use strict;
use warnings;

use Time::HiRes qw(sleep);

use constant PUSHES => '/v1/push/subscriptions';

sub bearer { return (Authorization => "Bearer $_[0]{token}") }

sub unanswered { return $_[0]{status} >= 500 || $_[0]{status} == 409 }

sub any { return @_ ? $_[rand @_] : undef }

# --- what clients do -------------------------------------------------------

sub act_contact {
    my ($self, $account) = @_;
    return if keys %{ $account->{contacts} } > 20;
    my $note = "note $$ " . ++$self->{notes};
    my $r = $self->call('contact', 'POST', '/v1/contacts', { own => {
        '@type' => 'Card', version => '1.0', name => { full => 'Somebody' } },
        note => $note }, bearer($account));
    $account->{maybe_contacts}++ if unanswered($r);
    return if !$self->expected('contact', $r, 201);
    $account->{contacts}{ $r->{json}{contact_id} } = { known => $note,
        maybe => {} };
}

sub any_contact {
    my ($account) = @_;
    return any(grep { !$account->{contacts}{$_}{deleted} }
        sort keys %{ $account->{contacts} });
}

sub act_note {
    my ($self, $account) = @_;
    my $id = any_contact($account) // return;
    my $note = "note $$ " . ++$self->{notes};
    my $r = $self->call('note', 'PATCH', "/v1/contacts/$id",
        { note => $note }, bearer($account));
    $account->{contacts}{$id}{maybe}{$note} = 1 if unanswered($r);
    return if !$self->expected('note', $r, 200);
    $account->{contacts}{$id}{known} = $note;
}

sub act_forget {
    my ($self, $account) = @_;
    return if keys %{ $account->{contacts} } < 4;
    my $id = any_contact($account) // return;
    my $r = $self->call('contact_deletion', 'DELETE', "/v1/contacts/$id", undef,
        bearer($account));
    $account->{contacts}{$id}{deleted} = 'maybe' if unanswered($r);
    return if !$self->expected('deletion of a contact', $r, 204, 404);
    $account->{contacts}{$id}{deleted} = 'yes';
}

# Another's card, by a key that is good.
sub act_save {
    my ($self, $account) = @_;
    my $other = any(grep { $_ != $account } @{ $self->{accounts} }) // return;
    my $id = CardxTest::Soak::any_card($other) // return;
    my $card = $other->{cards}{$id};
    my $key_id = CardxTest::Soak::any_key($card) // return;
    my $r = $self->call('save', 'POST', '/v1/contacts', { card_id => $id,
        key => $card->{keys}{$key_id}{key} }, bearer($account));
    return if !$self->expected("save $id", $r, 200, 201);
    $account->{held}{ $r->{json}{contact_id} } = $id;
}

# What is new, put to what was told before.
sub read_log {
    my ($self, $account, $call) = @_;
    while (1) {
        my $since = $account->{since};
        my $r = $call->('/v1/updates' . (defined $since ? "?since=$since"
            : ''));
        return $r if $r->{status} != 200;
        $account->{log}{"$_->{kind} $_->{id}"} = $_->{op}
            for @{ $r->{json}{changes} };
        $account->{since} = $r->{json}{token};
        return $r if !$r->{json}{more} && !defined $since;
    }
}

sub act_updates {
    my ($self, $account) = @_;
    my $r = read_log($self, $account, sub { $self->call('updates', 'GET',
        $_[0], undef, bearer($account)) });
    $self->expected('updates', $r, 200, 204);
}

sub act_subscribe {
    my ($self, $account) = @_;
    return if !$self->{service} || $account->{browser};
    my $name = "c$self->{n}b" . (1 + ($self->{browsers} // 0));
    my $browser = $self->{at_browser}{$name} // return;
    $self->{browsers}++;
    my $r = $self->call('subscription', 'POST', PUSHES, $browser,
        bearer($account));
    return if !$self->expected('subscription', $r, 200, 201);
    $account->{browser} = $name;
}

# The account is gone, or may be: nothing is done with it any more.
sub act_erase {
    my ($self, $account) = @_;
    return if @{ $self->{accounts} } < 5;
    my $r = $self->call('erasure', 'DELETE', '/v1/me',
        { password => $account->{password} }, bearer($account),
        'Content-Type' => 'application/json');
    @{ $self->{accounts} } = grep { $_ != $account } @{ $self->{accounts} };
    push @{ $self->{left} }, $account;
    $account->{erased} = 'maybe';

    # 401: erased without an answer, and asked again
    return if !$self->expected('erasure', $r, 204, 401);
    $account->{erased} = 'yes';
    $self->note('signed_out', "/v1/me $account->{token}");
    for my $id (keys %{ $account->{cards} }) {
        $self->note('revoked', "/c/$id $_->{key}")
            for values %{ $account->{cards}{$id}{keys} };
    }
}

# --- the proof -------------------------------------------------------------

# Nothing of an erased account is left but husks, which hold what was denied
# until every cache has had its time.
sub prove_erased {
    my ($self, $account) = @_;
    my $id = $account->{user_id};
    my $gone = $self->{t}->psql("select erased_at is not null
        from cardx.users where user_id = '$id'");
    $self->fault("account $id: gone is $gone, told was $account->{erased}")
        if $account->{erased} eq 'yes' && $gone ne 't';
    return 0 if $gone ne 't';

    my %husk = (cards => "deleted_at is not null and card = '{}'",
        terminals => "signed_out_at is not null and name = ''");
    for my $table (qw(cards contacts media terminals access_tokens
        refresh_tokens user_log push_subscriptions)) {
        my $n = $self->{t}->psql("select count(*) from cardx.$table
            where user_id = '$id' and not (" . ($husk{$table} // 'false')
            . ')');
        $self->fault("account $id is erased: $n rows in $table") if $n;
    }
    my $n = $self->{t}->psql("select count(*) from cardx.grants
        where holder_id = '$id'");
    $self->fault("account $id is erased: holds $n grants") if $n;
    return 1;
}

# The account's own view, by a terminal of its own.
sub signed_in {
    my ($self, $account) = @_;
    my $r;
    $self->{t}->wait_for(sub {
        $r = $self->{t}->post('/v1/sessions', { phone => $account->{phone},
            password => $account->{password}, terminal => { name => 'proof' }
            });
        $r->{status} != 429 && $r->{status} < 500;
    }, 60);
    $self->fault("$account->{user_id} can't sign in: $r->{status} $r->{body}")
        if $r->{status} != 200;
    return $r->{json}{access_token};
}

sub prove_book {
    my ($self, $account) = @_;
    my $t = $self->{t};
    my $token = signed_in($self, $account) // return;
    my $get = sub { $t->get($_[0], undef, { token => $token }) };

    for my $id (sort keys %{ $account->{contacts} }) {
        my $contact = $account->{contacts}{$id};
        my $r = $get->("/v1/contacts/$id");
        my $told = $contact->{deleted} // 'no';
        my $wanted = $told eq 'yes' ? 404 : 200;
        $self->fault("contact $id: $r->{status}, deleted: $told")
            if $r->{status} != $wanted && $told ne 'maybe';
        next if $r->{status} != 200;
        my $note = $r->{json}{note} // '';
        $self->fault("contact $id: $note, answered was $contact->{known}")
            if $note ne $contact->{known} && !$contact->{maybe}{$note};
    }
    prove_held($self, $account, $get);
    prove_log($self, $account, $get);
    prove_pushed($self, $account, $token);
}

# What a holder sees of a card is the card.
sub prove_held {
    my ($self, $account, $get) = @_;
    for my $id (sort keys %{ $account->{held} }) {
        my $card_id = $account->{held}{$id};
        my $title = $self->{t}->psql("select card->'titles'->'t'->>'name'
            from cardx.cards where card_id = '$card_id'
            and deleted_at is null");
        my $r = $get->("/v1/contacts/$id");
        my $seen = $r->{json}{live} ? $r->{json}{live}{titles}{t}{name} // ''
            : '';
        $self->fault("contact $id: $r->{status}, $seen, the card has $title")
            if $r->{status} != 200 || $seen ne $title;
    }
}

# Whoever has followed the log knows what one knows who reads it anew.
sub prove_log {
    my ($self, $account, $get) = @_;
    return if !defined $account->{since};
    my (@missing, @wrong);

    # a change that is not decided for everybody is in a new reading already
    $self->{t}->wait_for(sub {
        my $r = read_log($self, $account, $get);
        my %fresh = (log => {});
        read_log($self, \%fresh, $get);
        @missing = grep { ($account->{log}{$_} // '') ne 'put' }
            sort keys %{ $fresh{log} };
        @wrong = grep { $account->{log}{$_} eq 'put' && !$fresh{log}{$_} }
            sort keys %{ $account->{log} };
        return $r->{status} == 204 && !@missing && !@wrong;
    }, 20) or $self->fault("updates of $account->{user_id}");
    $self->fault("log of $account->{user_id}: never told: @missing")
        if @missing;
    $self->fault("log of $account->{user_id}: not told it is gone: @wrong")
        if @wrong;
}

# After all this the next change still reaches the browser.
sub prove_pushed {
    my ($self, $account, $token) = @_;
    my $name = $account->{browser} // return;
    my $service = $self->{service};
    my $bad = grep { $_->{error} } $service->pushes($name);
    $self->fault("$name: $bad pushes could not be read") if $bad;

    my $r;
    $self->{t}->wait_for(sub {
        $r = $self->{t}->post('/v1/contacts', { own => { '@type' => 'Card',
            version => '1.0', name => { full => 'The last' } } },
            { token => $token });
        $r->{status} == 201;
    }, 30);
    my $id = $r->{json}{contact_id} // 'none';
    $self->{t}->wait_for(sub { grep { ($_->{text} // '') =~ /"\Q$id\E"/
        || ($_->{text} // '') =~ /"more":\s*true/ } $service->pushes($name) },
        60) or $self->fault("$name is not told of contact $id");
    $self->{pushed} += () = $service->pushes($name);
}

1;
