package CardxTest::Schema;

# JSON Schema 2020-12, as far as docs/openapi.yaml uses it; a keyword that is
# not known here is an error, so that nothing in a schema goes unchecked.
#
#     my $schemas = CardxTest::Schema->new($document);
#     is(join("\n", $schemas->check($value, $schema)), '');
#     $schemas->check_closed(...)     # nothing that the schema does not name
#
# Values come from JSON::PP or YAML::PP and must not have been used in
# arithmetic or as text before, since Perl then forgets which they were.

use strict;
use warnings;

use B ();
use JSON::PP ();

my $json = JSON::PP->new->canonical->allow_nonref;

my %annotation = map { $_ => 1 } qw(title description default example
    examples deprecated);

my %keyword = (
    '$ref' => \&same_ref,
    type => \&has_type,
    enum => \&in_enum,
    const => \&is_const,
    pattern => \&has_pattern,
    format => \&has_format,
    minLength => \&has_length,
    maxLength => \&has_length,
    minimum => \&has_size,
    maximum => \&has_size,
    maxItems => \&has_items,
    items => \&each_item,
    required => \&has_required,
    properties => \&each_property,
    additionalProperties => \&other_properties,
    anyOf => \&any_of,
);

sub new {
    my ($class, $document) = @_;
    return bless { document => $document }, $class;
}

# What a "#/..." leads to, undef if nothing (RFC 6901).
sub find {
    my ($self, $ref) = @_;
    my ($path) = $ref =~ m{^#(/.*)} or return undef;
    my $here = $self->{document};
    for my $name (split m{/}, substr $path, 1) {
        $name =~ s/~1/\//g;
        $name =~ s/~0/~/g;
        return undef unless ref $here eq 'HASH' && exists $here->{$name};
        $here = $here->{$name};
    }
    return $here;
}

# An object of OpenAPI's that may be a reference to one.
sub resolve {
    my ($self, $object) = @_;
    while (ref $object eq 'HASH' && defined $object->{'$ref'}) {
        $object = $self->find($object->{'$ref'})
            // die "nothing at $object->{'$ref'}";
    }
    return $object;
}

sub type_of {
    my ($value) = @_;
    return 'null' unless defined $value;
    return 'boolean' if JSON::PP::is_bool($value);
    return 'object' if ref $value eq 'HASH';
    return 'array' if ref $value eq 'ARRAY';
    my $flags = B::svref_2object(\$value)->FLAGS;
    return 'string' if $flags & B::SVp_POK;
    return 'string' unless $flags & (B::SVp_IOK | B::SVp_NOK);
    return $value == int $value ? 'integer' : 'number';
}

# Sentences about what is wrong; none if all is well.
sub check {
    my ($self, $value, $schema) = @_;
    local $self->{closed} = 0;
    return $self->place($value, $schema, '');
}

sub check_closed {
    my ($self, $value, $schema) = @_;
    local $self->{closed} = 1;
    return $self->place($value, $schema, '');
}

# Everything that holds for one value.
sub place {
    my ($self, $value, $schema, $at) = @_;
    my @wrong = $self->apply($value, $schema, $at);
    if ($self->{closed} && ref $value eq 'HASH') {
        my %named;
        my $open = $self->named($schema, \%named);
        push @wrong, map { "$at/$_ is not in the schema" }
            grep { !$named{$_} } sort keys %$value unless $open;
    }
    return @wrong;
}

# One schema of perhaps several for a value.
sub apply {
    my ($self, $value, $schema, $at) = @_;
    my @wrong;
    for my $name (sort keys %$schema) {
        next if $annotation{$name};
        my $rule = $keyword{$name} or die "$at: keyword $name is not known";
        push @wrong, $rule->($self, $value, $schema->{$name}, $at, $schema,
            $name);
    }
    return @wrong;
}

# Collects the properties that a schema names; true: others may be there.
sub named {
    my ($self, $schema, $named) = @_;
    my $open = $schema->{additionalProperties} ? 1 : 0;
    $named->{$_} = 1 for keys %{ $schema->{properties} || {} };
    for my $part ($schema->{'$ref'} ? $self->find($schema->{'$ref'}) : (),
        @{ $schema->{anyOf} || [] }) {
        $open = 1 if $self->named($part, $named);
    }
    return $open;
}

sub same_ref {
    my ($self, $value, $ref, $at) = @_;
    my $schema = $self->find($ref) // return "$at: nothing at $ref";
    return $self->apply($value, $schema, $at);
}

sub has_type {
    my ($self, $value, $types, $at) = @_;
    my $is = type_of($value);
    my @may = ref $types ? @$types : $types;
    return if grep { $_ eq $is || ($_ eq 'number' && $is eq 'integer') } @may;
    return "$at is $is, not " . join ' or ', @may;
}

sub in_enum {
    my ($self, $value, $values, $at) = @_;
    my $is = $json->encode($value);
    return if grep { $json->encode($_) eq $is } @$values;
    return "$at: $is is none of " . $json->encode($values);
}

sub is_const {
    my ($self, $value, $const, $at) = @_;
    return in_enum($self, $value, [$const], $at);
}

sub has_pattern {
    my ($self, $value, $pattern, $at) = @_;
    return if type_of($value) ne 'string';
    $pattern =~ s/\$\z/\\z/;    # Perl's $ lets a line end follow
    return $value =~ /$pattern/ ? ()
        : "$at: '" . substr($value, 0, 100) . "' is not like $pattern";
}

sub has_format {
    my ($self, $value, $format, $at) = @_;
    die "$at: format $format is not known" if $format ne 'date-time';
    return if type_of($value) ne 'string' || $value =~ /^\d{4}-[01]\d-[0-3]\d
        T[0-2]\d:[0-5]\d:[0-6]\d(?:\.\d+)?(?:Z|[-+]\d\d:\d\d)\z/x;
    return "$at: '$value' is no time";
}

sub has_length {
    my ($self, $value, $limit, $at, $schema, $name) = @_;
    return if type_of($value) ne 'string';
    my $length = length $value;
    return if $name eq 'minLength' ? $length >= $limit : $length <= $limit;
    return "$at has $length characters, not $name $limit";
}

sub has_size {
    my ($self, $value, $limit, $at, $schema, $name) = @_;
    return if type_of($value) !~ /^(?:integer|number)$/;
    return if $name eq 'minimum' ? $value >= $limit : $value <= $limit;
    return "$at is $value, not $name $limit";
}

sub has_items {
    my ($self, $value, $limit, $at) = @_;
    return if ref $value ne 'ARRAY' || @$value <= $limit;
    return "$at has more than $limit items";
}

sub each_item {
    my ($self, $value, $schema, $at) = @_;
    return if ref $value ne 'ARRAY';
    return map { $self->place($value->[$_], $schema, "$at/$_") }
        0 .. $#$value;
}

sub has_required {
    my ($self, $value, $names, $at) = @_;
    return if ref $value ne 'HASH';
    return map { "$at/$_ is missing" } grep { !exists $value->{$_} } @$names;
}

sub each_property {
    my ($self, $value, $schemas, $at) = @_;
    return if ref $value ne 'HASH';
    return map { $self->place($value->{$_}, $schemas->{$_}, "$at/$_") }
        grep { exists $value->{$_} } sort keys %$schemas;
}

sub other_properties {
    my ($self, $value, $rule, $at, $schema) = @_;
    return if ref $value ne 'HASH';
    my @other = grep { !exists(($schema->{properties} || {})->{$_}) }
        sort keys %$value;
    return map { $self->place($value->{$_}, $rule, "$at/$_") } @other
        if ref $rule eq 'HASH';
    return $rule ? () : map { "$at/$_ may not be there" } @other;
}

sub any_of {
    my ($self, $value, $schemas, $at) = @_;
    my @first;
    for my $schema (@$schemas) {
        my @wrong = $self->apply($value, $schema, $at);
        return unless @wrong;
        @first = @wrong unless @first;
    }
    return ("$at is none of several", @first);
}

1;
