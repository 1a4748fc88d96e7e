#!/usr/bin/perl
# docs/openapi.yaml is consistent, and says what the sources say; what the
# running server does is t/openapi.t's.

use strict;
use utf8;
use warnings;

use Test::More;

use FindBin;
use lib "$FindBin::Bin/lib";
use CardxTest;
use CardxTest::OpenAPI;

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

my $ROOT = $CardxTest::ROOT;
my $json = JSON::PP->new->utf8->allow_nonref;
my %used;

# nginx's own requests: for what it keeps in its cache, and for a stream.
my %internal = map { $_ => 1 } 'GET /', 'GET /-/changes';

subtest 'the document is an OpenAPI document' => sub {
    like($document->{openapi}, qr/^3\.1\.\d+$/, 'of 3.1');

    my %members = (
        document => 'openapi info servers security tags paths components',
        info => 'title version summary license description',
        item => 'parameters servers get put post delete patch',
        operation => 'operationId tags summary description security parameters'
            . ' requestBody responses',
        parameter => 'name in required description schema style explode'
            . ' example',
        requestBody => 'description required content',
        response => 'description headers content',
        header => 'description required schema',
        content => 'schema example examples',
        securityScheme => 'type scheme description in name',
        components => 'securitySchemes parameters headers responses schemas',
    );
    my $whole = sub {
        my ($what, $object, $where, @required) = @_;
        return if $object->{'$ref'};
        my %may = map { $_ => 1 } split / /, $members{$what};
        good("$where: members of $what",
            (grep { !$may{$_} } sort keys %$object),
            map { "no $_" } grep { !defined $object->{$_} } @required);
    };
    my $content = sub {
        my ($where, $types) = @_;
        $whole->('content', $types->{$_}, "$where, $_") for sort keys %$types;
    };
    my $response = sub {
        my ($where, $response) = @_;
        $whole->('response', $response, $where, 'description');
        $content->($where, $response->{content} || {});
        $whole->('header', $response->{headers}{$_}, "$where, $_", 'schema')
            for sort keys %{ $response->{headers} || {} };
    };

    $whole->('document', $document, 'all', qw(info paths));
    $whole->('info', $document->{info}, 'info', qw(title version));
    my $components = $document->{components};
    $whole->('components', $components, 'components');
    $whole->('securityScheme', $components->{securitySchemes}{$_}, $_, 'type')
        for sort keys %{ $components->{securitySchemes} };
    $whole->('parameter', $components->{parameters}{$_}, $_, qw(name in schema))
        for sort keys %{ $components->{parameters} };
    $whole->('header', $components->{headers}{$_}, $_, 'schema')
        for sort keys %{ $components->{headers} };
    $response->($_, $components->{responses}{$_})
        for sort keys %{ $components->{responses} };

    my %tags = map { $_->{name} => 1 } @{ $document->{tags} };
    for my $id (sort keys %operations) {
        my ($item, $operation) = @{ $operations{$id} }{qw(item operation)};
        $whole->('item', $item, $id);
        $whole->('operation', $operation, $id, qw(operationId summary tags));
        good("$id: tags", grep { !$tags{$_} } @{ $operation->{tags} });
        good("$id: security", grep { !$components->{securitySchemes}{$_} }
            map { keys %$_ } @{ $operation->{security} || [] });
        $whole->('parameter', $_, $id, qw(name in schema))
            for @{ $operation->{parameters} || [] },
            @{ $item->{parameters} || [] };
        if (my $body = $operation->{requestBody}) {
            $whole->('requestBody', $body, $id, 'content');
            $content->($id, $body->{content});
        }
        $response->("$id $_", $operation->{responses}{$_})
            for sort keys %{ $operation->{responses} };
        good("$id: statuses", grep { !/^(?:[2-5]\d\d|default)$/ }
            sort keys %{ $operation->{responses} });

        my $template = join ' ', sort $operations{$id}{path} =~ /\{(\w+)\}/g;
        my $declared = join ' ', sort map { $_->{name} } grep { $_->{in} eq
            'path' && $_->{required} } values %{ $operations{$id}{parameters} };
        is($declared, $template, "$id: parameters of the path");
    }
};

subtest 'the document leads nowhere in vain' => sub {
    my %there;
    walk($document, sub {
        my ($here, @path) = @_;
        return unless ref $here eq 'HASH' && defined $here->{'$ref'};
        ok(defined $schemas->find($here->{'$ref'}), "$here->{'$ref'}");
        $there{ $here->{'$ref'} } = 1;
    });
    for my $kind (qw(parameters headers responses schemas)) {
        good("components/$kind: all are used", grep {
            !$there{"#/components/$kind/$_"} }
            sort keys %{ $document->{components}{$kind} });
    }
};

subtest 'the examples are as the schemas say' => sub {
    my $n = 0;
    walk($document, sub {
        my ($here, @path) = @_;
        return unless ref $here eq 'HASH' && ref $here->{schema} eq 'HASH';
        my @examples = (exists $here->{example} ? $here->{example} : (),
            map { $_->{value} } values %{ $here->{examples} || {} });
        for my $example (@examples) {
            good(join('/', @path),
                $schemas->check_closed($example, $here->{schema}));
            $n++;
        }
    });
    cmp_ok($n, '>', 20, 'there are examples');
};

# --- the document and the sources ------------------------------------------

my @sources = map { s{^\Q$ROOT\E/}{}r } sort glob("$ROOT/workers/api/*.c"),
    glob("$ROOT/ngx_http_cardx_module/*.c"), "$ROOT/core/cx_projection.h";
my %source = map { $_ => slurp($_) } @sources;
my $nginx_conf = slurp('conf/nginx.conf');

# "METHOD pattern" of each route.
sub routes {
    my @routes;
    for my $text (values %source) {
        my @kinds = $text =~ /\bROUTES\("(\w+)"/g;
        while ($text =~ /\{[\s\\]*"([A-Z]+)", "(\/[^"]*)"( kind)?,/g) {
            my ($method, $pattern, $kind) = ($1, $2, $3);
            push @routes, map { "$method $pattern$_" } $kind ? @kinds : '';
        }
    }
    # what nginx answers alone
    push @routes, map { "GET $_" } $nginx_conf
        =~ /location[ ]=[ ](\S+)[ ]\{\s*(?:(?:access_log[ ]off|cardx_auth[ ]on);\s*)?
            cardx_(?:metrics|events)[ ]on/gx;
    return sort grep { !$internal{$_} } @routes;
}

# "METHOD path" of each operation, with each of an enum's values; X stands
# for any other.
sub documented {
    my ($operation) = @_;
    my @paths = ($operation->{path});
    for my $parameter (values %{ $operation->{parameters} }) {
        next if $parameter->{in} ne 'path';
        my $values = $schemas->resolve($parameter->{schema})->{enum} || ['X'];
        @paths = map { my $path = $_;
            map { $path =~ s/\{$parameter->{name}\}/$_/r } @$values } @paths;
    }
    return map { "$operation->{method} $_" } @paths;
}

subtest 'every route is in the document, and every call is routed' => sub {
    my @routes = routes();
    cmp_ok(scalar @routes, '>', 35, 'there are routes');
    my %served;
    for my $operation (map { $operations{$_} } sort keys %operations) {
        for my $call (documented($operation)) {
            my @by = grep {
                my $pattern = quotemeta =~ s/\\\{.\\?.?\\\}/[^\/]+/gr;
                $call =~ /^$pattern$/;
            } @routes;
            ok(scalar @by, "$operation->{id}: $call is routed");
            $served{$_} = 1 for @by;
        }
    }
    good('every route is in the document', grep { !$served{$_} } @routes);
};

my %documented;
for my $operation (values %operations) {
    my $responses = $operation->{operation}{responses};
    push @{ $documented{$_} }, $operation->{id}
        for map { pairs($_, $responses->{$_}) } keys %$responses;
}

subtest 'every problem of the sources is in the document' => sub {
    my %said;
    for my $name (sort keys %source) {
        # adjacent literals, and lines that go on
        my $text = $source{$name} =~ s/"\s*\\?\n\s*"//gr;
        $said{"$1 $2"} = $name while $text =~
            /cx_problem(?:_with)?\(\s*r,\s*(\d+),\s*"(\w+)"/g;
        $said{"422 $1"} = $name while
            $text =~ /cx_body_only\(\s*r, \w+, "(\w+)"/g;
        $said{"429 $1"} = $name while $text =~ /cx_too_many\(r, "(\w+)"/g;
        $said{"422 invalid_$1"} = $name while $text =~
            /(?:cx_body_(?:text|integer|boolean)|\bargument)\(r, "(\w+)"/g;
        $said{"$1 wrong_password"} = $name while $text =~
            /cx_password_wrong\(r, (\d+)\)/g;
        $said{"$1 wrong_password"} = $name while $text =~
            /cx_password_right\([^;]*?\b(40\d)\b/g;
        $said{"$1 $2"} = $name while $text =~
            /\\"status\\":(\d+),[^{}]*?\\"code\\":\\"(\w+)\\"/g;
    }
    $said{"$1 $2"} = 'conf/nginx.conf' while $nginx_conf =~
        /"status":(\d+),[^{}]*"code":"(\w+)"/g;
    cmp_ok(scalar keys %said, '>', 50, 'there are problems');

    ok($documented{$_}, "$_ of $said{$_}") for sort keys %said;
    good('and no other', grep { !$said{$_} } sort keys %documented);
    my %codes = map { (split / /)[1] => 1 } keys %documented;
    is(join(' ', sort @{ $document->{components}{schemas}{ProblemCode}{enum} }),
        join(' ', sort keys %codes), 'all codes are in the list of codes');
};

subtest 'media types' => sub {
    my %taken = map { $_ => 1 } $source{'workers/api/media_type.c'}
        =~ m{"((?:image|audio|video)/[\w.-]+)"}g;
    is(join(' ', sort keys %{ $operations{putMedium}{operation}{requestBody}
        {content} }), join(' ', sort keys %taken), 'those that are taken');
};

done_testing;
