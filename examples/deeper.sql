-- Courses, their chapters, the lessons in these.
CREATE TABLE course (id int PRIMARY KEY, title text NOT NULL);
CREATE TABLE chapter (
    id        int PRIMARY KEY,
    course_id int NOT NULL REFERENCES course ON DELETE CASCADE ON UPDATE CASCADE,
    title     text NOT NULL
);
CREATE TABLE lesson (
    chapter_id int REFERENCES chapter ON DELETE CASCADE ON UPDATE CASCADE,
    place      int,
    minutes    int NOT NULL,
    PRIMARY KEY (chapter_id, place)
);
CREATE INDEX ON chapter (course_id);

-- A document a course. It is NULL only inside of a transaction that has changed what is in it.
CREATE TABLE course_doc (id int PRIMARY KEY REFERENCES course ON DELETE CASCADE ON UPDATE CASCADE, doc json);

CREATE FUNCTION course_document(course_id int) RETURNS json LANGUAGE sql AS $$
    SELECT json_build_object('title', title,
        'minutes', (SELECT coalesce(sum(minutes), 0) FROM lesson JOIN chapter c ON c.id = chapter_id WHERE c.course_id = course.id),
        'chapters', (SELECT coalesce(json_agg(json_build_object('title', c.title,
            'lessons', (SELECT coalesce(json_agg(minutes ORDER BY place), '[]') FROM lesson WHERE chapter_id = c.id)) ORDER BY c.id), '[]')
            FROM chapter c WHERE c.course_id = course.id))
    FROM course WHERE id = $1
$$;

-- A change empties the document. That locks it until the commit, so that of two transactions which change
-- one course the later one waits, and then sees what the earlier one did.
CREATE FUNCTION course_changed(course_id int) RETURNS void LANGUAGE sql AS $$
    UPDATE course_doc SET doc = NULL WHERE id = $1 AND doc IS NOT NULL
$$;

-- At the commit what is empty is made anew, once however much has changed.
CREATE FUNCTION make_course_doc() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE course_doc SET doc = course_document(id) WHERE id = NEW.id AND doc IS NULL;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER make AFTER INSERT OR UPDATE ON course_doc DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.doc IS NULL) EXECUTE PROCEDURE make_course_doc();

-- Each table says which courses a change of its rows is in: that of the row as it was, and as it is.
CREATE FUNCTION course_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO course_doc (id) VALUES (NEW.id);
    ELSE
        PERFORM course_changed(OLD.id), course_changed(NEW.id);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION chapter_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN PERFORM course_changed(OLD.course_id); END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM course_changed(NEW.course_id); END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION lesson_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN PERFORM course_changed(course_id) FROM chapter WHERE id = OLD.chapter_id; END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM course_changed(course_id) FROM chapter WHERE id = NEW.chapter_id; END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION all_courses_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM course_changed(id) FROM course;
    RETURN NULL;
END $$;
CREATE TRIGGER doc AFTER INSERT OR UPDATE ON course FOR EACH ROW EXECUTE PROCEDURE course_changes();
CREATE TRIGGER doc AFTER INSERT OR UPDATE OR DELETE ON chapter FOR EACH ROW EXECUTE PROCEDURE chapter_changes();
CREATE TRIGGER doc AFTER INSERT OR UPDATE OR DELETE ON lesson FOR EACH ROW EXECUTE PROCEDURE lesson_changes();
CREATE TRIGGER docs AFTER TRUNCATE ON chapter FOR EACH STATEMENT EXECUTE PROCEDURE all_courses_change();
CREATE TRIGGER docs AFTER TRUNCATE ON lesson FOR EACH STATEMENT EXECUTE PROCEDURE all_courses_change();

INSERT INTO course VALUES (1, 'Tea'), (2, 'Coffee');
INSERT INTO chapter VALUES (1, 1, 'Leaves'), (2, 1, 'Water'), (3, 2, 'Beans');
INSERT INTO lesson VALUES (1, 1, 20), (1, 2, 15), (2, 1, 40), (3, 1, 30);
