package CardxTest::Documented;

# Calls that are checked against docs/openapi.yaml, what goes out and what
# comes back; and what holds for each operation of a part of the document.
#
#     about('contacts');
#     call(listContacts => 200, { token => $token, limit => 10 });
#     for_whom(); other_methods({ token => $token }); like_get(); all_seen();

use strict;
use utf8;
use warnings;

use CardxTest;
use CardxTest::OpenAPI;
use Exporter 'import';
use JSON::PP ();
use Test::More;

our @EXPORT = qw($t %seen %last %unseen about call as_documented refused number
    registration verify wrong for_whom other_methods like_get
    away all_seen);

# What a test can't bring about, and what is shown with one call for all.
our %unseen = map { $_ => 1 } qw(conflict not_storable incomplete
    request_timeout method_unavailable);
my %once = map { $_ => 1 } qw(bad_request still_running);

# Only when the own card goes while others are made.
my %unseen_status = map { $_ => 1 } 'getEvents 503', 'putOwnCard 409';

my $json = JSON::PP->new->utf8->allow_nonref;

our $t = CardxTest->new->start;
our (%seen, %last);

sub encoded { $_[0] =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger }

# Checks an answer against what the document says of an operation.
sub as_documented {
    my ($name, $operation, $r) = @_;
    my $responses = $operation->{operation}{responses};
    my ($status) = grep { $responses->{$_} } $r->{status}, 'default'
        or return fail("$name: $r->{status} is not in the document");
    my $response = $schemas->resolve($responses->{$status});
    my @wrong;

    for my $header (sort keys %{ $response->{headers} || {} }) {
        my $rule = $schemas->resolve($response->{headers}{$header});
        my $value = $r->{headers}{ lc $header };
        if (!defined $value) {
            push @wrong, "no header $header" if $rule->{required};
            next;
        }
        $value += 0 if ($rule->{schema}{type} // '') eq 'integer';
        push @wrong, ref $value ? "$header more than once"
            : map { "$header$_" } $schemas->check($value, $rule->{schema});
    }

    my ($type) = ($r->{headers}{'content-type'} // '') =~ /^([^;]*)/;
    my $body = $r->{body} // '';
    if (!$response->{content}) {
        push @wrong, "a body: $type" if $body ne '' || $type ne '';

    } elsif (!$response->{content}{$type}) {
        push @wrong, "a body of type '$type'";

    } elsif (my $schema = $response->{content}{$type}{schema}) {
        my $value = $type =~ /\bjson$/ ? eval { $json->decode($body) } : $body;
        push @wrong, $@ if $@;
        push @wrong, $schemas->check_closed($value, $schema);
        push @wrong, 'another status in the body' if $type =~ /problem/
            && ref $value && $value->{status} != $r->{status};
    }
    good("$name: as documented", @wrong)
        or diag("$r->{status} " . substr $body, 0, 500);

    my $code = $r->{json} && ref $r->{json} eq 'HASH' ? $r->{json}{code} : '';
    $seen{ $operation->{id} }{$status}{ $code // '' } = 1;
}

# What goes out has to be as documented too, where it is taken.
sub sent_as_documented {
    my ($name, $operation, $parameters, $body, $type) = @_;
    my @wrong;
    for my $parameter (values %{ $operation->{parameters} }) {
        my $value = $parameters->{ $parameter->{name} };
        if (!defined $value) {
            push @wrong, "no $parameter->{name}" if $parameter->{required};
            next;
        }
        push @wrong, map { "$parameter->{name}$_" }
            $schemas->check($value, $parameter->{schema});
    }
    my $rule = $operation->{operation}{requestBody};
    if (defined $body) {
        my $content = $rule && $rule->{content}{$type};
        push @wrong, "a body of type '$type'" unless $content;
        push @wrong, $schemas->check(
            $json->decode($json->encode($body)), $content->{schema})
            if ref $body && $content;
    } elsif ($rule && $rule->{required}) {
        push @wrong, 'no body';
    }
    good("$name: sent as documented", @wrong);
}

# call(operation, "status" or "status code", parameters, body).  Parameters
# are those of the document; also token, key (header), k (address), type (of
# the body), Accept.
sub call {
    my ($id, $expected, $parameters, $body) = @_;
    my $operation = $operations{$id} // die "no operation $id";
    my %rest = %{ $parameters || {} };
    my $path = $operation->{path};
    my (@query, %headers);

    for my $parameter (map { $operation->{parameters}{$_} }
        sort keys %{ $operation->{parameters} }) {
        my $value = delete $rest{ $parameter->{name} } // next;
        if ($parameter->{in} eq 'path') {
            $path =~ s/\{$parameter->{name}\}/encoded("$value")/e;
        } elsif ($parameter->{in} eq 'query') {
            push @query, "$parameter->{name}=" . (ref $value
                ? join ',', map { encoded($_) } @$value : encoded("$value"));
        } else {
            $headers{ $parameter->{name} } = "$value";
        }
    }
    push @query, "k=$rest{k}" if defined $rest{k};
    delete $rest{k};
    $headers{$_} = delete $rest{$_}
        for grep { exists $rest{$_} } qw(token key Accept);
    my $type = delete $rest{type} // ($operation->{method} eq 'PATCH'
        ? 'application/merge-patch+json' : 'application/json');
    $headers{'Content-Type'} = $type if defined $body && $type ne '';
    die "$id has no parameters " . join ' ', keys %rest if %rest;
    die "$path is not complete" if $path =~ /\{/;

    my $name = "$id $expected";
    my $do = $operation->{item}{servers} ? 'ops' : 'request';
    my $r = $t->$do($operation->{method},
        $path . (@query ? '?' . join '&', @query : ''), $body, \%headers);
    my $code = $r->{json} && ref $r->{json} eq 'HASH' ? $r->{json}{code} : '';
    is(join(' ', $r->{status}, $expected =~ / / ? $code // '' : ()), $expected,
        $name) or diag(substr $r->{body} // '', 0, 500);
    as_documented($name, $operation, $r);
    if ($r->{status} < 400) {
        sent_as_documented($name, $operation, $parameters || {}, $body, $type);
        $last{$id} = [$parameters, $body];
    }
    return $r->{json};
}

my $next = 0;
sub number { sprintf '+861380000%04d', ++$next }
# A registration that waits for its code: its parameters, and the code.
sub registration {
    my ($phone) = @_;
    $t->forget_limits;
    my $started = call(startRegistration => 202, {}, { phone => $phone,
        method => 'sms-down' });
    my ($code) = ($t->sms($phone) // '') =~ /(?<!\d)(\d{6})(?!\d)/;
    return ({ registration_id => $started->{registration_id} }, $code);
}

sub verify {
    my ($expected, $registration, $code, %more) = @_;
    return call(verifyRegistration => $expected, $registration,
        { code => $code, terminal => { name => 'phone' }, %more });
}

sub wrong { sprintf '%06d', ("$_[0]" + 1) % 1_000_000 }

# Which operations the running file is about, by their tags.
my %part;
sub about { %part = map { $_ => 1 } @_ }
sub in_part { grep { $part{$_} } @{ $_->{operation}{tags} } }

# Names of operations for which the code, given one in $_, returns true.
sub operations_with {
    my ($test) = @_;
    return grep { local $_ = $operations{$_}; in_part() && $test->() }
        sort keys %operations;
}

sub is_anonymous { $_->{operation}{security} || $_->{item}{servers} }

# An import takes an array, and more of it; that was seen.
sub takes_json {
    my $body = $_->{operation}{requestBody};
    return $_->{id} ne 'importContacts' && (ref $last{ $_->{id} }[1]
        || ($body && $body->{content}{'application/json'}));
}

# Whose it is, and bodies, lists and keys that are none.
sub for_whom {
    my $bela = $t->register(number());
    for my $operation (operations_with(sub { !is_anonymous() })) {
        my ($parameters, $body) = @{ $last{$operation} };
        call($operation => '401 unauthorized', { %$parameters,
            token => undef }, $body);
        next unless grep { /_id$/ } keys %$parameters;
        call($operation => '404 not_found', { %$parameters,
            token => $bela->{access_token} }, $body);
    }
    for my $operation (operations_with(\&takes_json)) {
        my $where = $last{$operation}[0];
        call($operation => '400 invalid_json', $where, '{"half');
        call($operation => '422 invalid_body', $where, '[]');
        call($operation => '413 too_large', $where, ' ' x 200_000);
        call($operation => '415 unsupported_type', { %$where,
            type => 'text/plain' }, '{}');
    }
    for my $operation (operations_with(sub { $_->{method} eq 'POST' })) {
        my ($parameters, $body) = @{ $last{$operation} };
        call($operation => '422 invalid_idempotency_key', { %$parameters,
            'Idempotency-Key' => 'x' x 256 }, $body);
    }
    for my $list (operations_with(sub { $_->{parameters}{limit} })) {
        my $where = $last{$list}[0];
        call($list => '422 invalid_limit', { %$where, limit => 101 });
        call($list => '422 invalid_cursor', { %$where, cursor => "'" });
    }
}

# A call that no operation describes, and one whose document holds for it.
sub refused {
    my ($expected, $id, $method, $path, @rest) = @_;
    my $r = $t->request($method, $path, @rest);
    is("$r->{status} $r->{json}{code}", $expected, "$method: $expected");
    as_documented("$id: $expected", $operations{$id}, $r);
    return $r;
}

# Every address takes the methods that it says.
sub other_methods {
    my ($by) = @_;
    for my $operation (operations_with(sub { !$_->{item}{servers} })) {
        my ($parameters) = @{ $last{$operation} };
        my $path = $operations{$operation}{path}
            =~ s/\{(\w+)\}/$parameters->{$1}/gr;
        my $r = refused('405 method_not_allowed', $operation, 'PROPFIND',
            $path, undef, $by);
        like($r->{headers}{allow} // '', qr/\b$operations{$operation}{method}/,
            "$operation: Allow");
    }
}

sub like_get {
    for my $operation (operations_with(sub { $_->{method} eq 'GET'
        && !$_->{item}{servers} })) {
        next if $operation eq 'getEvents';    # has no end
        my ($parameters) = @{ $last{$operation} };
        my $path = $operations{$operation}{path}
            =~ s/\{(\w+)\}/$parameters->{$1}/gr;
        my @rest = (undef, { map { $_ => $parameters->{$_} }
            grep { defined $parameters->{$_} } qw(token key) });
        $path .= "?k=$parameters->{k}" if $parameters->{k};
        my ($head, $get) = ($t->head($path, @rest), $t->get($path, @rest));
        is(($head->{body} // '') . join(' ', map { $head->{headers}{$_} // '-' }
            qw(content-type content-length etag)), join(' ', map {
            $get->{headers}{$_} // '-' } qw(content-type content-length etag)),
            "$operation: like GET");
    }
}

# All that was done is done again, without what it needs.  Redis and PostgreSQL
# are away already.
sub away {
    for my $operation (operations_with(sub { !$_->{item}{servers} })) {
        next if $operation eq 'getEvents';    # goes on
        my ($parameters, $body) = @{ $last{$operation} };
        call($operation => '503 unavailable', $parameters, $body);
    }
}

# Nothing in the document of this part that was not seen.
sub all_seen {
    my (%codes, %documented);
    for my $operation (operations_with(sub { 1 })) {
        my $responses = $operations{$operation}{operation}{responses};
        ok((grep { /^[23]/ } keys %{ $seen{$operation} }), "$operation: done");
        for my $status (sort keys %$responses) {
            my @codes = map { (split / /)[1] }
                pairs($status, $responses->{$status});
            next if $unseen_status{"$operation $status"}
                || $status eq 'default';
            @documented{@codes} = ();
            next if @codes && !grep { !$unseen{$_} && !$once{$_} } @codes;
            ok($seen{$operation}{$status}, "$operation: $status");
        }
        $codes{$_} = 1 for map { keys %$_ } values %{ $seen{$operation} };
    }
    good('every code', grep { !$codes{$_} && !$unseen{$_} && !$once{$_} }
        sort keys %documented);
    return \%codes;
}

1;
